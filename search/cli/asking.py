"""Commands that ask what was found, and why: status, best, trials, why, report, ladder."""

import importlib.util
import os
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from objectives.convergence import End
from search import files
from search.answer.ladder import ladder as ladder_of
from search.answer.ladder.verdicts import claims
from search.answer.wording import epochs
from search.ask.purpose import Purpose
from search.cli import options, output
from search.cli.progress import run_waiting
from search.errors import Failure, UsageError
from search.query import runs
from search.query.best_query import BestQuery, By
from search.query.records import RunRecord
from search.spec import parsing, stored_study
from search.spec.space import Choices
from search.spec.study_spec import DEFAULT_CLASSES, StudySpec
from search.train.processes import require_one_machine
from storage import ledger, studies
from storage.database import StorageError
from storage.schema import RunKind, RunState
from storage.store import OUTAGE_SECONDS, Store

app = options.Commands()
REPORT = Path("report.html")


@app.command()
def status(at: options.AnyStudyOptions) -> None:
    """How far a study is: trials by state, workers, and the incumbent."""
    output.status(at.ask().status(at.study), at.format)


@app.command()
def best(
    at: options.AnyStudyOptions,
    per: Annotated[
        str | None, Option(metavar="NAME", help="The best of each value of a parameter, and how all ended.")
    ] = None,
    where: Annotated[
        list[str] | None, Option(metavar="NAME=…", help="Only those with NAME=VALUE, NAME=A,B or NAME=LOW:HIGH.")
    ] = None,
    classes: Annotated[int | None, options.at_least(2, "Only configurations for this class count.")] = None,
    by: Annotated[By, Option(help="What the least of is best; weights: how many the network has.")] = By.EPOCHS,
    target: Annotated[float | None, Option(help="Judge by another accuracy.  [default: the study's]")] = None,
    hold: Annotated[int | None, Option(help="Judge by so many evaluations in a row.  [default: the study's]")] = None,
    top: Annotated[int, options.at_least(1, "How many.")] = 10,
) -> None:
    """The best configurations: confirmed ones first, then by epochs, refuted ones last. Equal rank means a tie.

    Another --target or --hold is answered from the recorded curves, without training.

    Examples: `fewest best` · `fewest best --per activation` · `fewest best --per classes --format csv` ·
    `fewest best --where activation=tanh,relu --where lr=0.01:0.1` · `fewest best --target 0.95 --hold 1` ·
    `fewest best --by weights --top 3 --format json`
    """
    narrowed = parsing.where([*(where or ()), *([f"classes={classes}"] if classes else ())])
    answer = at.ask().best(at.study, BestQuery(narrowed, by, target, hold), per, top)
    if at.format is not output.Format.TABLE:
        return output.records(answer.best, at.format)
    output.best_table(answer, by, per)


@app.command()
def trials(
    at: options.AnyStudyOptions,
    limit: Annotated[int, options.at_least(1, "How many.")] = 50,
    after: Annotated[int, options.at_least(-1, "Begin after this trial.")] = -1,
) -> None:
    """The study's trials in order, finished or not.

    Example: `fewest trials --after 99 --limit 50` · `fewest trials --limit 100000 --format csv`
    """
    page = at.ask().trials(at.study, limit, after)
    if at.format is not output.Format.TABLE:
        return output.records(page, at.format)
    output.trials_table(page)
    if len(page) == limit:
        output.notice(f"more with --after {page[-1].trial}")


@app.command()
def why(
    at: options.StudyOptions,
    number: Annotated[
        int, Argument(metavar="TRIAL", min=0, max=options.MAX_INTEGER, help="As `fewest trials` numbers them.")
    ],
    device: options.Device = "auto",
) -> None:
    """What held a missed trial back, and what to change.

    The trial is trained again, up to 64 epochs, and measured: whether units respond, whether the hidden outputs tell
    classes apart, whether noise drowns them, how far the first update moves the first layer, and which step would have
    been best. Each piece of advice is tried for as many epochs, on the same seeds; the best is followed and what is
    left is measured again, so that later steps include the earlier ones.

    Examples: `fewest why 12` · `fewest why 12 --study digits --format json`
    """
    place = options.available(device)[0]
    store, opened = at.open()
    trial, spec, steps = store.read(runs.trial, opened, number), opened.spec, []
    if trial.end in (End.CAP, End.DIVERGED):
        if spec.objective:
            raise UsageError(f"trial {number} is of {spec.objective}, and units of our own network are measured here")
        from search.answer.why.why import Why
        from search.spec.dataset import stored

        with output.err.status("training"):
            steps = Why(spec, stored(spec, store), place).steps(trial)
    headline = _headline(trial, spec.max_epochs)
    records = [step.record for step in steps]
    if at.format is output.Format.JSON:
        return output.record({"trial": number, "said": headline, "steps": records}, at.format)
    if at.format is output.Format.CSV:
        return output.records(records, at.format)
    output.line(headline, "bold")
    for i, step in enumerate(steps, start=1):
        output.line(f"{i}. {step.sentences}")
    if not steps and trial.end == End.CAP:
        output.line("Nothing that is measured here explains it: another seed may do better.")


def _headline(trial: RunRecord, max_epochs: int) -> str:
    """What became of a trial, in one line."""
    name = f"Trial {trial.trial}"
    if trial.state == RunState.FAILED:
        return f"{name} failed in {trial.attempts} attempts: {trial.reason}"
    if trial.state != RunState.DONE:
        return f"{name} is {trial.state}: ask again when it has an outcome"
    given = f"{epochs(trial.epochs)} of at most {max_epochs}"
    if trial.converged:
        return f"{name} converged after {given}: nothing held it back"
    if trial.end == End.OUT_OF_MEMORY:
        widths = ", ".join(f"{key}={trial.params[key]}" for key in ("width", "width_2") if trial.params.get(key))
        return f"{name} ran out of memory: fewer units need less{f' ({widths} now)' if widths else ''}"
    if trial.end == End.EXCEPTION:
        return f"{name} raised an exception: {trial.reason}"
    wrong = "diverged" if trial.end == End.DIVERGED else "missed"
    return f"{name} {wrong}: accuracy {trial.best_accuracy or 0:.3f} at best in {given}"


@app.command()
def report(
    at: options.StudyPlace,
    out: Annotated[Path, Option(metavar="FILE", help="The page: one HTML file that needs nothing else.")] = REPORT,
    png: Annotated[
        Path | None,
        Option(metavar="DIR", help="Also write each figure there as a PNG: needs `fewest[png]` and a Chrome."),
    ] = None,
) -> None:
    """What a study found, to look at: learning curves, epochs against each parameter, and what decides, in one file.

    The figures also go to the study's page in optuna-dashboard, in place of those of an earlier report. A study that
    still runs can be reported on; its workers are not held up.

    Examples: `fewest report` · `fewest report --out counts.html --study counts --png figures`
    """
    files.check(out, "--out")
    if png:
        _check_png(png)
    store, opened = at.open()

    from search.answer.report import pictures
    from search.answer.report import report as page
    from search.answer.report.findings import gather

    with output.err.status("drawing"):
        findings = store.read(gather, opened)
        parts = page.sections(findings)
        content = page.html(findings, parts).encode()
        files.write(out, content)
        exhibits = [each for part in parts for each in part.exhibits]
        output.line(f"{out}: {len(exhibits)} figures, {len(content) / 1e6:.1f} MB")
        if png:
            try:
                pictures.write(exhibits, png)
            except RuntimeError as error:
                raise Failure(f"`--png`: {error}; install Chromium or Chrome, or run plotly_get_chrome") from None
            output.line(f"{png}: the same as PNG")
        try:
            pictures.show_in_dashboard(store, at.study, exhibits)
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


@app.command()
def ladder(
    at: options.StudyOptions,
    on: options.WorkerOptions,
    classes: Annotated[
        str | None,
        Option(help=f"Class counts, of the study or not.  [default: the study's, of a new one {DEFAULT_CLASSES}]"),
    ] = None,
    seeds: Annotated[int, Option(min=1, max=30, help="Seeds of each rung; fewer than 3 tell no two apart.")] = 3,
    max_epochs: Annotated[int, Option(min=1, max=10_000_000, help="Most epochs of each run.")] = 1000,
) -> None:
    """Measure the page's claims: its model, each advice of its answer alone, then all together, and the winner.

    The same command again goes on where it stopped, and more seeds or class counts only add runs. They are kept in the
    study, which is made if need be, and no search waits for them.

    Examples: `fewest ladder` · `fewest ladder --classes 32,64,256 --seeds 5` ·
    `fewest ladder --max-epochs 2500 --format json`
    """
    devices = on.devices()
    asked = parsing.class_counts(classes) if classes else None
    store = Store.open(at.storage, create=True, patience=OUTAGE_SECONDS)
    require_one_machine(store)
    opened = _study_of_waves(store, at.study, asked)
    counts = sorted({*map(int, asked.values)}) if asked else opened.spec.class_counts
    store.write(studies.resume, opened.study_id)
    done = 0
    while due := store.read(ladder_of.due, opened, counts, seeds, max_epochs):
        store.write(ledger.replace_waiting, opened.study_id, RunKind.LADDER, due)
        done += len(due)
        run_waiting(store, opened, at.storage, devices[: len(due)], Purpose.LADDER, done)
    rungs = [rung for rung in store.read(ladder_of.rung_records, opened, max_epochs) if rung.classes in counts]
    if at.format is not output.Format.TABLE:
        output.records(rungs, at.format)
    else:
        output.ladder_table(rungs, claims(rungs))
    if not any(rung.kind == "winner" for rung in rungs):
        lacking = f"study {at.study!r} has no winner yet"
        output.notice(f"{lacking}; `fewest launch` finds one, and this command then measures it")


def _study_of_waves(store: Store, name: str, asked: Choices | None) -> stored_study.StoredStudy:
    """The study of that name, made with no trials unless it exists; UsageError if it is not about waves."""
    spec = StudySpec.of(asked and Choices(values=asked.values[:1]))
    known = store.read(studies.look_up, name)
    study = store.write(stored_study.create, name, spec, 0)
    if study.spec.data:
        about = f"study {name!r} about {study.spec.data.name}"
        raise UsageError(f"the ladder is about the page's waves, and {about}; name another")
    if not known:
        counted = "" if spec.class_counts == (DEFAULT_CLASSES,) else f" --classes {spec.class_counts[0]}"
        output.notice(f"made study {name!r} without a trial; `fewest launch{counted}` begins its search")
    return study
