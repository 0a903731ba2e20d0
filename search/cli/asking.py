"""Commands that ask what was found."""

from typing import Annotated

import typer

from search.cli import output
from search.cli.options import MOST, STORAGE, STUDY, AnyStorage, Output, StudyName
from search.cli.output import Format
from search.query.ranking import By, Wanted
from search.query.studies import opened
from search.spec import parsing as options

app = typer.Typer()


@app.command()
def status(storage: AnyStorage = STORAGE, study: StudyName = STUDY, format: Output = Format.TABLE) -> None:
    """How far a study is: trials by state, workers, and the incumbent."""
    output.record(opened(storage).status(study), format)


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
    storage: AnyStorage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """The best configurations: confirmed ones first, then by epochs, refuted ones last. Equal rank means a tie.

    Another --target or --hold is answered from the recorded curves, without training.
    """
    narrowed = options.where([*(where or ()), *([f"classes={classes}"] if classes else ())])
    found = opened(storage).best(study, Wanted(narrowed, by, target, hold), per, top)
    if format is not Format.TABLE:
        return output.records(found["best"], format)
    output.best_table(found["best"], found["ended"], by, per)


@app.command(epilog="Example: `fewest trials --after 99 --limit 50` · `fewest trials --limit 100000 --format csv`")
def trials(
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="How many.")] = 50,
    after: Annotated[int, typer.Option(min=-1, max=MOST, help="Begin after this trial.")] = -1,
    storage: AnyStorage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """The study's trials in order, finished or not."""
    found = opened(storage).trials(study, limit, after)
    if format is not Format.TABLE:
        return output.records(found, format)
    output.trials_table(found)
    if len(found) == limit:
        output.notice(f"more with --after {found[-1]['trial']}")
