"""The command that measures the page's claims."""

from functools import partial
from typing import Annotated

import typer

from search.answer.ladder import ladder as climbing
from search.answer.ladder.verdicts import claims
from search.cli import output
from search.cli.options import STORAGE, STUDY, Device, Output, Storage, StudyName, available
from search.cli.output import Format
from search.cli.progress import View
from search.errors import UsageError
from search.query import runs as query
from search.spec import parsing as options
from search.spec.space import Choices
from search.spec.study_spec import DEFAULT_CLASSES, StudySpec, parsed
from search.train.engine import LocalEngine
from search.train.processes import only_here
from storage import ledger, studies
from storage.store import OUTAGE_SECONDS, Store
from storage.studies import StudyRecord

app = typer.Typer()


@app.command(
    epilog="Examples: `fewest ladder` · `fewest ladder --classes 32,64,256 --seeds 5` · "
    "`fewest ladder --max-epochs 2500 --format json`"
)
def ladder(
    classes: Annotated[
        str | None,
        typer.Option(
            help=f"Class counts, of the study or not.  [default: the study's, of a new one {DEFAULT_CLASSES}]"
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=30, help="Seeds of each rung; 3 are the fewest that can tell two apart.")
    ] = 3,
    max_epochs: Annotated[int, typer.Option(min=1, max=10_000_000, help="Most epochs of each run.")] = 1000,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.  [default: as `launch`]")] = None,
    device: Device = "auto",
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """Measure the page's claims: its model, each advice of its answer alone, then all together, and the winner.

    The same command again goes on where it stopped, and more seeds or class counts only add runs. They are kept in the
    study, which is made if need be, and no search waits for them.
    """
    there = available(device)
    asked = options.class_counts(classes) if classes else None
    store = Store.open(storage, create=True, patience=OUTAGE_SECONDS)
    only_here(store)
    record = _study(store, study, asked)
    counts = sorted({*map(int, asked.values)}) if asked else parsed(record.spec).class_counts
    store.write(studies.resume, record.study_id)
    done = 0
    while new := store.read(climbing.due, record, counts, seeds, max_epochs):
        store.write(ledger.climb, record.study_id, new)
        places = [there[i % len(there)] for i in range(min(workers or len(there), len(new)))]
        engine = LocalEngine(store, record, storage, places, "--ladder")
        with View(output.err) as view:
            finished = engine.run(partial(view.climb, done + len(new)))
        done += len(new)
        if not finished or store.read(query.status, record)["stopping"]:
            output.notice("stopped; nothing is lost, and the same command goes on")
            raise typer.Exit(0 if finished else 130)
    found = [row for row in store.read(climbing.climbed, record, max_epochs) if row["classes"] in counts]
    if format is not Format.TABLE:
        output.records(found, format)
    else:
        output.ladder_table(found, claims(found))
    if not any(row["kind"] == "winner" for row in found):
        output.notice(
            f"study {study!r} has no winner yet; `fewest launch` finds one, and this command then measures it"
        )


def _study(store: Store, name: str, asked: Choices | None) -> StudyRecord:
    """The study of that name, made with no trials unless it exists; UsageError if it is not about waves."""
    spec = StudySpec.of(asked and Choices(values=asked.values[:1]))
    known = store.read(studies.look_up, name)
    record = known or store.write(studies.create, name, spec.model_dump_json(), 0, spec.directions)
    data = parsed(record.spec).data
    if data:
        raise UsageError(f"the ladder is about the page's waves, and study {name!r} about {data.name}; name another")
    if not known:
        counted = "" if spec.class_counts == (DEFAULT_CLASSES,) else f" --classes {spec.class_counts[0]}"
        output.notice(f"made study {name!r} without a trial; `fewest launch{counted}` begins its search")
    return record
