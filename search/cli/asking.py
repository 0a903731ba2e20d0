"""Commands that ask what was found."""

from typing import Annotated

import typer

from search.cli import output
from search.cli.options import MAX_INTEGER, AnyStudyOptions, Commands
from search.cli.output import Format
from search.query.best_query import BestQuery, By
from search.spec import parsing

app = Commands()


@app.command()
def status(at: AnyStudyOptions) -> None:
    """How far a study is: trials by state, workers, and the incumbent."""
    output.status(at.ask().status(at.study), at.format)


@app.command(
    epilog="Examples: `fewest best` · `fewest best --per activation` · `fewest best --per classes --format csv` · "
    "`fewest best --where activation=tanh,relu --where lr=0.01:0.1` · `fewest best --target 0.95 --hold 1` · "
    "`fewest best --by weights --top 3 --format json`"
)
def best(
    at: AnyStudyOptions,
    per: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The best of each value of a parameter, and how all ended."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=…", help="Only configurations with NAME=VALUE, NAME=A,B or NAME=LOW:HIGH."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, max=MAX_INTEGER, help="Only configurations for this class count.")
    ] = None,
    by: Annotated[By, typer.Option(help="What the least of is best; weights: how many the network has.")] = By.EPOCHS,
    target: Annotated[
        float | None, typer.Option(help="Judge the recorded curves by another accuracy.  [default: the study's]")
    ] = None,
    hold: Annotated[
        int | None, typer.Option(help="Judge them by so many evaluations in a row.  [default: the study's]")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=MAX_INTEGER, help="How many.")] = 10,
) -> None:
    """The best configurations: confirmed ones first, then by epochs, refuted ones last. Equal rank means a tie.

    Another --target or --hold is answered from the recorded curves, without training.
    """
    narrowed = parsing.where([*(where or ()), *([f"classes={classes}"] if classes else ())])
    answer = at.ask().best(at.study, BestQuery(narrowed, by, target, hold), per, top)
    if at.format is not Format.TABLE:
        return output.records(answer.best, at.format)
    output.best_table(answer, by, per)


@app.command(epilog="Example: `fewest trials --after 99 --limit 50` · `fewest trials --limit 100000 --format csv`")
def trials(
    at: AnyStudyOptions,
    limit: Annotated[int, typer.Option(min=1, max=MAX_INTEGER, help="How many.")] = 50,
    after: Annotated[int, typer.Option(min=-1, max=MAX_INTEGER, help="Begin after this trial.")] = -1,
) -> None:
    """The study's trials in order, finished or not."""
    page = at.ask().trials(at.study, limit, after)
    if at.format is not Format.TABLE:
        return output.records(page, at.format)
    output.trials_table(page)
    if len(page) == limit:
        output.notice(f"more with --after {page[-1].trial}")
