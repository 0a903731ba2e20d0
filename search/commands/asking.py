"""Commands that ask what was found."""

from typing import Annotated

import typer

from search import output, query
from search.commands.common import MOST, STORAGE, STUDY, Output, Storage, StudyName
from search.output import Format
from storage import studies
from storage.store import Store

app = typer.Typer()


@app.command()
def status(storage: Storage = STORAGE, study: StudyName = STUDY, format: Output = Format.TABLE) -> None:
    """How far a study is: trials by state, workers, and the incumbent."""
    store = Store.open(storage)
    output.record(store.read(query.status, store.read(studies.find, study)), format)


@app.command(epilog="Examples: `fewest best` · `fewest best --classes 256 --top 3 --format json`")
def best(
    classes: Annotated[
        int | None, typer.Option(min=2, max=MOST, help="Only configurations for this class count.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=MOST, help="How many.")] = 10,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """The best configurations: confirmed ones first, then by epochs, refuted ones last. Equal rank means a tie."""
    store = Store.open(storage)
    record = store.read(studies.find, study)
    found = store.read(query.best, record, classes, top)
    if format is not Format.TABLE:
        return output.records(found, format)
    output.best_table(found, store.read(query.status, record))


@app.command(epilog="Example: `fewest trials --after 99 --limit 50` · `fewest trials --limit 100000 --format csv`")
def trials(
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="How many.")] = 50,
    after: Annotated[int, typer.Option(min=-1, max=MOST, help="Begin after this trial.")] = -1,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """The study's trials in order, finished or not."""
    store = Store.open(storage)
    found = store.read(query.trials, store.read(studies.find, study), limit, after)
    if format is not Format.TABLE:
        return output.records(found, format)
    output.trials_table(found)
    if len(found) == limit:
        output.notice(f"more with --after {found[-1]['trial']}")
