"""The command that draws what was found."""

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search import files
from search.cli import output
from search.cli.options import STORAGE, STUDY, Storage, StudyName
from search.errors import Failure, UsageError
from storage import studies
from storage.database import StorageError
from storage.store import Store

if TYPE_CHECKING:
    from search.answer.report.figures import Exhibit

app = typer.Typer()


@app.command(epilog="Examples: `fewest report` · `fewest report --out counts.html --study counts --png figures`")
def report(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page: one HTML file that needs nothing else.")] = Path(
        "report.html"
    ),
    png: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write each figure there as a PNG: needs `fewest[png]` and a Chrome."),
    ] = None,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
) -> None:
    """What a study found, to look at: learning curves, epochs against each parameter, and what decides, in one file.

    The figures also go to the study's page in optuna-dashboard, in place of those of an earlier report. A study that
    still runs can be reported on; its workers are not held up.
    """
    files.check(out, "--out")
    if png:
        _check_png(png)
    store = Store.open(storage)
    record = store.read(studies.find, study)

    from search.answer.report import report
    from search.answer.report.findings import gathered
    from search.answer.report.pictures import show_in_dashboard

    with output.err.status("drawing"):
        this = store.read(gathered, record)
        parts = report.sections(this)
        content = report.html(this, parts).encode()
        files.write(out, content)
        exhibits = [each for part in parts for each in part.exhibits]
        output.line(f"{out}: {len(exhibits)} figures, {len(content) / 1e6:.1f} MB")
        if png:
            _pictures(exhibits, png)
        try:
            show_in_dashboard(store, study, exhibits)
        except StorageError as error:  # a store that one may only read is enough for the page
            output.notice(f"not shown in optuna-dashboard: {error}")


def _check_png(png: Path) -> None:
    """UsageError unless pictures can be made, and put there."""
    if importlib.util.find_spec("kaleido") is None:
        raise UsageError("`--png` needs kaleido and a Chrome or Chromium; pip install 'fewest[png]'")
    try:
        png.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {png}: {error.strerror}; `--png` names a directory") from None
    if not os.access(png, os.W_OK):
        raise UsageError(f"cannot write to {png}; `--png` names a directory that you may write to")


def _pictures(exhibits: "list[Exhibit]", png: Path) -> None:
    from search.answer.report.pictures import write

    try:
        write(exhibits, png)
    except RuntimeError as error:
        raise Failure(f"`--png`: {error}; install Chromium or Chrome, or run plotly_get_chrome") from None
    output.line(f"{png}: the same as PNG")
