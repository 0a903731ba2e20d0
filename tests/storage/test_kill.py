"""Workers that are killed, and many that write at once: the books stay in order."""

import pytest

from tests import swarm


def test_a_budget_is_exact_whoever_is_killed(url: str) -> None:
    """4 workers, 200 short trials, SIGKILL to a random one every 0.2 to 1 s: 200 outcomes, and nothing left running."""
    record = swarm.made(url, 200)
    killed = swarm.kill(url, kills=6, count=4, seed=1)
    ends = swarm.checked(url, record, 200)
    assert killed >= 3 and set(ends) <= {"done", "expired", "failed"}


@pytest.mark.parametrize(("url", "processes"), [("sqlite", 8), ("postgres", 16)], indirect=["url"])
def test_many_processes_write_at_once(url: str, processes: int) -> None:
    """Instant trials on one store: as many as the budget says, and no write finds the database locked."""
    trials = processes * 40
    record = swarm.made(url, trials, sampler="random")
    workers = [swarm.start(swarm.work_instantly, url) for _ in range(processes)]
    swarm.leave(workers)
    assert [process.exitcode for process in workers] == [0] * processes
    assert swarm.checked(url, record, trials)["done"] == trials
