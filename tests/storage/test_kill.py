"""Workers that are killed, and many that write at once: the books stay in order."""

import pytest

from tests.support import swarm


def test_a_budget_is_exact_whoever_is_killed(url: str) -> None:
    """4 workers, 200 short trials, SIGKILL to a random one every 0.2 to 1 s: 200 outcomes, and nothing left running."""
    record = swarm.made(url, 200)
    killed = swarm.kill(url, kills=6, count=4, seed=1)
    ends = swarm.checked(url, record, 200)
    assert killed >= 3 and set(ends) <= {"done", "expired", "failed"}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # 16 of them on Postgres are in the README's benchmark
def test_many_processes_write_at_once(url: str) -> None:
    """Instant trials on one store: as many as the budget says, and no write finds the database locked."""
    record = swarm.made(url, 400, sampler="random")
    workers = [swarm.start(swarm.work_instantly, url) for _ in range(8)]
    swarm.leave(workers)
    assert [process.exitcode for process in workers] == [0] * 8
    assert swarm.checked(url, record, 400)["done"] == 400
