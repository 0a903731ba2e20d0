"""Commands that ask what was found."""

from typing import Annotated

import typer

from search import options, output, query, ranking
from search.commands.common import MOST, STORAGE, STUDY, Output, Storage, StudyName
from search.output import Format
from search.ranking import By, Wanted
from storage import studies
from storage.store import Store

app = typer.Typer()


@app.command()
def status(storage: Storage = STORAGE, study: StudyName = STUDY, format: Output = Format.TABLE) -> None:
    """How far a study is: trials by state, workers, and the incumbent."""
    store = Store.open(storage)
    output.record(store.read(query.status, store.read(studies.find, study)), format)


@app.command(
    epilog="Examples: `fewest best` · `fewest best --per activation` · `fewest best --per classes --format csv` · "
    "`fewest best --where activation=tanh,relu --where lr=0.01:0.1` · `fewest best --target 0.95 --hold 1` · "
    "`fewest best --by weights --top 3 --format json`"
)
def best(
    per: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The best of each value of a parameter, and how all ended."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=…", help="Only configurations with NAME=VALUE, NAME=A,B or NAME=LOW:HIGH."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, max=MOST, help="Only configurations for this class count.")
    ] = None,
    by: Annotated[By, typer.Option(help="What the least of is best; weights: how many the network has.")] = By.EPOCHS,
    target: Annotated[
        float | None, typer.Option(help="Judge the recorded curves by another accuracy.  [default: the study's]")
    ] = None,
    hold: Annotated[
        int | None, typer.Option(help="Judge them by so many evaluations in a row.  [default: the study's]")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=MOST, help="How many.")] = 10,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """The best configurations: confirmed ones first, then by epochs, refuted ones last. Equal rank means a tie.

    Another --target or --hold is answered from the recorded curves, without training.
    """
    store = Store.open(storage)
    record = store.read(studies.find, study)
    narrowed = options.where([*(where or ()), *([f"classes={classes}"] if classes else ())])
    wanted = Wanted(narrowed, by, target, hold)
    if per:
        found = store.read(ranking.best_per, record, per, wanted)[:top]
    else:
        found = store.read(ranking.best, record, wanted, top)
    if format is not Format.TABLE:
        return output.records(found, format)
    output.best_table(found, store.read(ranking.tally, record, wanted), by, per)


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
