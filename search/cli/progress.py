"""Live progress of a study on stderr: a bar and the incumbent on a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NoReturn

import typer
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.answer.wording import configuration, epochs
from search.ask.purpose import Purpose
from search.cli import output
from search.query import runs
from search.query.records import Status
from search.train.engine import Engine, LocalEngine
from storage.store import Store
from storage.studies import StudyRecord

LINE_SECONDS = 10.0  # between two plain lines when nothing better is found
RATE_SECONDS = 10.0  # over which rates are averaged


class View:
    """Shows one study's status as it changes, or with `ladder` how many of so many runs of its ladder are done."""

    def __init__(self, live: Live | None, ladder: int | None = None) -> None:
        self._live, self._ladder = live, ladder
        self._seen: deque[tuple[float, int, int]] = deque()  # time, finished trials, epochs
        self._line_at = 0.0
        self._line_about: tuple[int | None, str] = None, ""

    def show(self, status: Status, note: str = "") -> None:
        """Show a status, on a terminal at once, elsewhere if there is news or it is time to."""
        clock, done, total = time.monotonic(), status.finished, status.budget
        if self._ladder is None:
            lines = [_counts(status), self._rates(clock, status), _incumbent(status), note]
        else:
            done, total = max(0, self._ladder - status.ladder_left), self._ladder
            lines = [f"ladder: {done} of {total} runs", note]
        if self._live:
            bar = Table.grid(padding=(0, 1))
            bar.add_row(ProgressBar(total=max(total, 1), completed=done, width=40), lines[0])
            rest = (Text(line, overflow="ellipsis", no_wrap=True) for line in lines[1:] if line)
            return self._live.update(Group(bar, *rest))
        about = status.incumbent.epochs if status.incumbent else None, note
        if about != self._line_about or clock - self._line_at > LINE_SECONDS:
            self._line_at, self._line_about = clock, about
            output.notice(" · ".join(filter(None, lines)))

    def _rates(self, now: float, status: Status) -> str:
        self._seen.append((now, status.finished, status.epochs_trained))
        while now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        then, finished, epochs = self._seen[0]
        if now - then < 1 or not finished < status.finished < status.budget:
            return ""
        left = (status.budget - status.finished) / (status.finished - finished) * (now - then)
        busy = f" · {status.occupied:.1f} of {status.slots} slots busy" if status.slots else ""
        rate = (status.epochs_trained - epochs) / (now - then)
        return f"{rate:.0f} epochs/s{busy} · about {_duration(left)} left"


@contextmanager
def view(ladder: int | None = None) -> Iterator[View]:
    """A View on stderr, which leaves no bar behind."""
    live = Live(console=output.err, transient=True, refresh_per_second=4) if output.err.is_terminal else None
    with live or nullcontext():
        yield View(live, ladder)


def watch(engine: Engine, ladder: int | None = None) -> bool:
    """Show how workers get on until all have left; False if they were told to leave."""
    with view(ladder) as shown:
        return engine.run(shown.show)


def run_waiting(
    store: Store, study: StudyRecord, url: str, devices: Sequence[str], purpose: Purpose, ladder: int | None = None
) -> None:
    """Run what waits of a study, on workers of this machine for that purpose; Exit if it is stopped."""
    finished = watch(LocalEngine(store, study, url, devices, "--purpose", purpose), ladder)
    if not finished or store.read(runs.status, study).stopping:
        stopped(finished)


def stopped(elsewhere: bool, fact: str = "stopped") -> NoReturn:
    """Leave a command that stops before its end, with status 130 after Ctrl-C here, and say so."""
    output.notice(f"{fact}; nothing is lost, and the same command goes on")
    raise typer.Exit(0 if elsewhere else 130)


def _counts(status: Status) -> str:
    failed = f", {status.failed} failed" if status.failed else ""
    again = f" · confirming: {status.replicates} replicates" if status.finished >= status.budget else ""
    counts = f"{status.converged} converged, {status.missed} missed{failed}{again}"
    return f"{status.finished} of {status.budget} trials: {counts}"


def _incumbent(status: Status) -> str:
    first = status.incumbent
    return f"fewest {epochs(first.epochs)}: {configuration(first.params)}" if first else "nothing has converged yet"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
