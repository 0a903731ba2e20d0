"""Commands that take a result at its word: train it again, or write it down as a script."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from search import output, query
from search.commands.common import MOST, STORAGE, STUDY, Output, Storage, StudyName, available
from search.launch import EngineError
from search.output import Format
from search.spec import parsed
from storage import studies
from storage.store import Store
from storage.studies import StudyRecord

app = typer.Typer()


@app.command(
    epilog="Examples: `fewest replay` · `fewest replay 12 52` · `fewest replay --sample 100 --format json` · "
    "`fewest replay 12 --device cpu`"
)
def replay(
    which: Annotated[list[int] | None, typer.Argument(metavar="[TRIAL]...", help="Trials by number.")] = None,
    sample: Annotated[
        int, typer.Option(min=1, max=MOST, help="How many at random, always the same, if no trial is named.")
    ] = 20,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N.  [default: as recorded, where there is such a one]")
    ] = None,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """Train recorded trials again, each alone, and compare epochs and every evaluation with the record.

    Exit status 1 if any comes out otherwise. On the same kind of hardware with the same versions none does; where
    these have changed, that is said.
    """
    place = available(device)[0] if device else None
    store = Store.open(storage)
    record = store.read(studies.find, study)
    found = [store.read(query.trial, record, number) for number in which or _sample(store, record, sample)]

    from search.data import stored
    from search.replay import Replay, check

    for recorded in found:
        check(recorded)
    spec, rows = parsed(record.spec), list[dict[str, Any]]()
    again = Replay(spec, stored(spec, store), place)
    with output.err.status("training") as shown:
        for recorded in found:
            said = f"trial {recorded['trial']}, {len(rows) + 1} of {len(found)}"
            row = again(
                recorded,
                lambda progress, said=said: shown.update(f"{said}: epoch {progress.epoch}"),  # type: ignore[misc]
            )
            rows.append(row)
    _say_what_changed(rows)
    output.replayed(rows, format)
    if not all(row["same_epochs"] and row["same_curve"] for row in rows):
        raise typer.Exit(1)


def _sample(store: Store, record: StudyRecord, n: int) -> list[int]:
    """Numbers of trials that have an outcome, the same for the same study and `n`."""
    numbers = store.read(query.finished, record)
    if not numbers:
        raise EngineError(f"no trial of study {record.name!r} has an outcome yet, so there is none to train again")
    return sorted(random.Random(json.loads(record.spec)["seed"]).sample(numbers, min(n, len(numbers))))


def _say_what_changed(rows: Sequence[dict[str, Any]]) -> None:
    unnamed = sum(row["trainer"] is None for row in rows)
    if unnamed:
        output.notice(f"{unnamed} recorded without the name of the trainer: taken for auto")
    for change, n in Counter(change for row in rows for change in row["changed"]).items():
        output.notice(f"{n} of {len(rows)} recorded with {change}")
