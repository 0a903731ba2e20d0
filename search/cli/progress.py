"""Live progress of a study on stderr: a bar and the incumbent on a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.answer.wording import configuration, epochs
from search.query.records import Status

LINE_SECONDS = 10.0  # between two plain lines when nothing better is found
RATE_SECONDS = 10.0  # over which rates are averaged


class View:
    """Shows one study's status as it changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else None
        self._seen: deque[tuple[float, int, int]] = deque()  # time, finished trials, epochs
        self._line_at = 0.0
        self._incumbent: int | None = None
        self._note = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, status: Status, note: str = "") -> None:
        """Take note of a status, and show it where it is time to."""
        clock = time.monotonic()
        self._seen.append((clock, status.finished, status.epochs_trained))
        while clock - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        lines = [_counts(status), *self._rates(status), _incumbent(status), note]
        incumbent = status.incumbent.epochs if status.incumbent else None
        self._put(status.finished, status.budget, lines, incumbent, note)

    def show_ladder(self, runs: int, status: Status, note: str = "") -> None:
        """The same of a ladder with so many runs to be done."""
        done = max(0, runs - status.ladder_left)
        self._put(done, runs, [f"ladder: {done} of {runs} runs", note], None, note)

    def _put(self, done: int, total: int, lines: Sequence[str], incumbent: int | None, note: str) -> None:
        if self._live:
            bar = Table.grid(padding=(0, 1))
            bar.add_row(ProgressBar(total=max(total, 1), completed=done, width=40), lines[0])
            self._live.update(
                Group(bar, *(Text(line, overflow="ellipsis", no_wrap=True) for line in lines[1:] if line))
            )
            return
        clock = time.monotonic()
        if incumbent != self._incumbent or note != self._note or clock - self._line_at > LINE_SECONDS:
            self._line_at, self._incumbent, self._note = clock, incumbent, note
            self._console.print(Text(" · ".join(line for line in lines if line)), soft_wrap=True)

    def _rates(self, status: Status) -> list[str]:
        (then, before, epochs), (now, _, latest) = self._seen[0], self._seen[-1]
        if now - then < 1 or status.finished == before:
            return []
        rate = (status.finished - before) / (now - then)
        left = (status.budget - status.finished) / rate
        busy = f" · {status.occupied:.1f} of {status.slots} slots busy" if status.slots else ""
        return (
            [f"{(latest - epochs) / (now - then):.0f} epochs/s{busy} · about {_duration(left)} left"]
            if left > 0
            else []
        )


def _counts(status: Status) -> str:
    failed = f", {status.failed} failed" if status.failed else ""
    again = f" · confirming: {status.replicates} replicates" if status.finished >= status.budget else ""
    counts = f"{status.converged} converged, {status.missed} missed{failed}{again}"
    return f"{status.finished} of {status.budget} trials: {counts}"


def _incumbent(status: Status) -> str:
    first = status.incumbent
    if not first:
        return "nothing has converged yet"
    return f"fewest {epochs(first.epochs)}: {configuration(first.params)}"


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
