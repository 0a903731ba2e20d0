"""The command that asks what held a trial back."""

from typing import Annotated, Any

import typer

from objectives.convergence import End
from search.cli import output
from search.cli.options import MOST, STORAGE, STUDY, Device, Output, Storage, StudyName, available
from search.cli.output import Format
from search.errors import UsageError
from search.query import runs as query
from search.spec.study_spec import parsed
from storage import studies
from storage.schema import RunState
from storage.store import Store

app = typer.Typer()


@app.command(epilog="Examples: `fewest why 12` · `fewest why 12 --study digits --format json`")
def why(
    number: Annotated[int, typer.Argument(metavar="TRIAL", min=0, max=MOST, help="As `fewest trials` numbers them.")],
    device: Device = "auto",
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """What held a missed trial back, and what to change.

    The trial is trained again, up to 64 epochs, and measured: whether units respond, whether the hidden outputs tell
    classes apart, whether noise drowns them, how far the first update moves the first layer, and which step would have
    been best. Each piece of advice is tried for as many epochs, on the same seeds; the best is followed and what is
    left is measured again, so that later steps include the earlier ones.
    """
    place = available(device)[0]
    store = Store.open(storage)
    record = store.read(studies.find, study)
    row, spec = store.read(query.trial, record, number), parsed(record.spec)
    if spec.objective and row["end"] in (End.CAP, End.DIVERGED):
        raise UsageError(f"trial {number} is of {spec.objective}, and units of our own network are measured here")
    steps: list[Any] = []
    if row["end"] in (End.CAP, End.DIVERGED) and not spec.objective:
        from search.answer.why.why import Why
        from search.spec.dataset import stored

        with output.err.status("training"):
            steps = Why(spec, stored(spec, store), place).steps(row)
    said = headline(row, spec.max_epochs)
    records = [step.record for step in steps]
    if format is Format.JSON:
        return output.record({"trial": number, "said": said, "steps": records}, format)
    if format is Format.CSV:
        return output.records(records, format)
    output.line(said, "bold")
    for i, step in enumerate(steps, start=1):
        output.line(f"{i}. {step.sentences}")
    if not steps and row["end"] == End.CAP:
        output.line("Nothing that is measured here explains it: another seed may do better.")


def headline(row: dict[str, Any], max_epochs: int) -> str:
    """What became of a trial, in one line."""
    name = f"Trial {row['trial']}"
    if row["state"] == RunState.FAILED:
        return f"{name} failed in {row['attempts']} attempts: {row['reason']}"
    if row["state"] != RunState.DONE:
        return f"{name} is {row['state']}: ask again when it has an outcome"
    given = f"{output.epochs(row['epochs'])} of at most {max_epochs}"
    if row["converged"]:
        return f"{name} converged after {given}: nothing held it back"
    if row["end"] == End.OUT_OF_MEMORY:
        widths = ", ".join(f"{key}={row['params'][key]}" for key in ("width", "width_2") if row["params"].get(key))
        return f"{name} ran out of memory: fewer units need less{f' ({widths} now)' if widths else ''}"
    if row["end"] == End.EXCEPTION:
        return f"{name} raised an exception: {row['reason']}"
    wrong = "diverged" if row["end"] == End.DIVERGED else "missed"
    return f"{name} {wrong}: accuracy {row['best_accuracy'] or 0:.3f} at best in {given}"
