"""The `fewest` command: reads options and environment once, wires the parts together, prints answers.

Answers go to stdout, progress and errors to stderr. Exit status: 2 misuse, 1 failure, 130 after Ctrl-C.
"""

import io
import json
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from objectives.configuration import Configuration
from objectives.devices import devices
from objectives.trainer import TrainerKind
from search import options, output, query
from search.launch import EngineError, LocalEngine
from search.output import Format
from search.space import preset as preset_of
from search.spec import DEFAULT_CLASSES, SAMPLERS, SpecError, StudySpec, parsed, refuse_of_waves, validated
from search.view import View
from storage import ledger, studies
from storage.engine import StorageError, StorageMisuse, redacted
from storage.store import OUTAGE_SECONDS, Store
from storage.studies import StudyRecord

if TYPE_CHECKING:
    from objectives.samples import Samples

DEFAULT_TRIALS = 600  # with 400, one study in twenty ended too early; measured by tests/bench/seeds.py
STORAGE, STUDY = "sqlite:///fewest.db", "default"
_UsageError: Any = typer.BadParameter.__base__  # what typer raises for options it cannot read, not exported by name

app = typer.Typer(
    name="fewest",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, and a storage URL can hold a password
    rich_markup_mode="markdown",
    help="Which configuration makes this network converge in the fewest epochs?\n\n"
    "`fewest launch` searches for it and confirms it; `fewest best` and `fewest trials` ask what was found; "
    "`fewest train` trains one configuration.",
)


def _of_spec(name: str, about: str) -> Any:
    """An option for one field of the spec: None unless given, so that a stored spec can supply it."""
    return typer.Option(help=f"{about}  [default: {StudySpec.model_fields[name].default}]")


def _study_name(name: str) -> str:
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise typer.BadParameter("a study's name is 1 to 200 printable characters")
    return name


MOST = (1 << 31) - 1  # what every database's integer holds

Storage = Annotated[str, typer.Option(envvar="FEWEST_STORAGE", help="sqlite:///FILE or postgresql://HOST/NAME")]
StudyName = Annotated[str, typer.Option(callback=_study_name, help="Name of the study in the storage.")]
Output = Annotated[Format, typer.Option("--format", help="table for people, json or csv for programs")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Trainer = Annotated[
    TrainerKind,
    typer.Option(help="array: many trials as one computation; solo: one by one; auto: each where it trains faster"),
]
Classes = Annotated[
    str | None,
    typer.Option(help=f"Class counts: 256, or 16,64,256, or 16..1024 in doublings.  [default: {DEFAULT_CLASSES}]"),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="npz file of X (samples × features) and y (a label each) to learn instead of waves.", metavar="FILE"
    ),
]
Inputs = Annotated[int | None, _of_spec("inputs", "Inputs of a sample.")]
Sigma = Annotated[float | None, _of_spec("sigma", "Standard deviation of the noise on each input.")]
Target = Annotated[float | None, _of_spec("target", "Accuracy that counts as learned.")]
Hold = Annotated[int | None, _of_spec("hold", "Evaluations in a row that must reach the target.")]
MaxEpochs = Annotated[int | None, _of_spec("max_epochs", "Most epochs of a trial.")]
Seed = Annotated[int | None, _of_spec("seed", "Seed of the sampler, the initial weights and the data.")]
Sampler = Annotated[str | None, _of_spec("sampler", f"{', '.join(SAMPLERS)}, or MODULE:CLASS of any Optuna sampler.")]


@app.command(
    epilog="Examples: `fewest launch` · `fewest launch --classes 64 --trials 100` · "
    "`fewest launch --fix activation=tanh --range lr=1e-4:1 --choices optimizer=adam,sgd` · "
    "`fewest launch --storage postgresql://localhost/fewest --study wide --range width=256:4096` · "
    "`fewest launch --data digits.npz --study digits --target 0.95`"
)
def launch(
    trials: Annotated[
        int, typer.Option(min=1, max=MOST, help="Trials in all, over every run of this command.")
    ] = DEFAULT_TRIALS,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds after which no new trial is begun.")] = None,
    until_epochs: Annotated[
        int | None,
        typer.Option(min=0, max=MOST, help="Begin no new trial once a configuration of so few epochs is confirmed."),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(min=0, max=MOST, help=f"Attempts after the first, if workers die.  [default: {studies.RETRIES}]"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes.  [default: one per GPU, else per core]")
    ] = None,
    sampler: Sampler = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Begin a study with the best of another one, carried to this one's class counts."),
    ] = None,
    fix: Annotated[list[str] | None, typer.Option(help="NAME=VALUE: a parameter that is not searched.")] = None,
    range_: Annotated[
        list[str] | None, typer.Option("--range", help="NAME=LOW:HIGH: where to search a number.")
    ] = None,
    choices: Annotated[list[str] | None, typer.Option(help="NAME=A,B,…: what to choose from.")] = None,
    data: Data = None,
    classes: Classes = None,
    inputs: Inputs = None,
    sigma: Sigma = None,
    target: Target = None,
    hold: Hold = None,
    max_epochs: MaxEpochs = None,
    device: Device = "auto",
    trainer: Trainer = TrainerKind.AUTO,
    seed: Seed = None,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """Search until TRIALS trials have an outcome, confirm the best on fresh seeds, and name the winner.

    The same command again goes on where it stopped, to exactly that many trials. Ctrl-C lets running trials finish; a
    second one leaves at once. Parameters to fix, range or choose from: hidden_layers, width, width_2, activation,
    optimizer, lr, first_lr_ratio, scaling, gain, bias_init, batch_sampling, and with --data batch_size in its place.
    """
    searched = options.dimensions(fix or (), range_ or (), choices or ())
    wanted: dict[str, Any] = {
        "target": target,
        "hold": hold,
        "max_epochs": max_epochs,
        "sampler": sampler,
        "seed": seed,
    }
    spec, samples = options.study_spec(classes, data, searched, inputs=inputs, sigma=sigma, **wanted)
    _check_sampler(spec, from_)
    there = _devices(device)
    store = Store.open(storage, create=not from_, patience=OUTAGE_SECONDS)  # the other study is in a store already
    record = _study(store, study, spec, samples, trials, from_)
    store.write(studies.reopen, record.study_id, trials, timeout, retries, until_epochs)
    places = [there[i % len(there)] for i in range(workers or len(there))]
    engine = LocalEngine(store, record, storage, places, "--trainer", trainer)
    with View(output.err) as view:
        finished = engine.run(view.show)
    state = store.read(query.status, record)
    if state["budget"] > trials:
        output.notice(f"study {study!r} has {state['budget']} trials already, more than --trials {trials}")
    tried = state["done"] + state["failed"]
    if not finished or (state["stopping"] and (tried < state["budget"] or state["confirming"])):
        said = f"stopped with {tried} of {state['budget']} trials; nothing is lost"
        output.notice(f"{said}, and the same command goes on")
        raise typer.Exit(0 if finished else 130)
    confirmed, question = store.read(query.confirmed, record), store.read(query.reference, record)
    counts = store.read(query.by_classes, record)
    if format is not Format.TABLE:
        return output.answer(confirmed, question, counts, state, format)
    output.conclusion(confirmed, question, counts, state, until_epochs)
    where = "" if storage == STORAGE or redacted(storage) != storage else f" --storage {shlex.quote(storage)}"
    where += "" if study == STUDY else f" --study {shlex.quote(study)}"
    commands = (f"fewest {command}{where}" for command in ("best", "trials", "train --save winner.pt"))
    dashboard = [f"optuna-dashboard {shlex.quote(storage)}"] if redacted(storage) == storage else []
    output.line("Next: " + " · ".join([*commands, *dashboard]))


def _check_sampler(spec: StudySpec, source: str | None) -> None:
    """SpecError, before anything is stored, for a sampler that cannot be had or begins in its own way."""
    if source and spec.sampler in ("random", "qmc"):
        raise SpecError(f"`--from {source}` is for samplers that learn, not for {spec.sampler}")
    if ":" in spec.sampler:
        from search.proposals import sampler

        sampler(spec.sampler, 0)


def _study(
    store: Store, name: str, spec: StudySpec, samples: "Samples | None", trials: int, source: str | None
) -> StudyRecord:
    """The study of that name, created with its data unless it exists; SpecError if it has another spec."""
    content = None
    known = store.read(studies.look_up, name)
    if not known:
        if source:
            begun = store.read(query.start, store.read(studies.find, source), spec)
            if not begun:
                raise EngineError(f"nothing has converged in study {source!r} yet, so there is nothing to begin with")
            spec = spec.model_copy(update={"start": tuple(begun)})
        if samples:
            from search.data import packed

            content = samples.digest, packed(samples)
    elif source:
        output.notice(f"study {name!r} has begun already; --from {source} is for its beginning")
    record = store.write(studies.create, name, spec.model_dump_json(), trials, spec.directions, content)
    difference = parsed(record.spec).difference(spec)
    if difference:
        where = redacted(store.engine.url)
        raise SpecError(f"study {name!r} in {where} has {difference}; name another with `--study`")
    return record


@app.command(epilog="Example: `fewest worker --study default` on every core or machine that reaches the storage")
def worker(
    device: Device = "auto",
    trainer: Trainer = TrainerKind.AUTO,
    only_waiting: Annotated[
        bool, typer.Option("--only-waiting", help="Run what waits, such as replicates, and begin no trial.")
    ] = False,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
) -> None:
    """Serve a study from one process until it has no more to do. `launch` starts these; more may join at any time."""
    parent = os.environ.get("FEWEST_PARENT")
    store = Store.open(storage, patience=OUTAGE_SECONDS, wait=OUTAGE_SECONDS if parent else 0)
    record = store.read(studies.find, study)
    place = _devices(device)[0]

    from search.worker import DEVICE_FAILED, Left, Worker

    output.notice(f"serving study {study!r} on {place}")
    try:
        who = int(parent) if parent else None
        Worker(store, record, place, parent=who, kind=trainer, only_waiting=only_waiting).work()
    except Left:
        raise typer.Exit(130) from None
    except RuntimeError as error:
        said = f"{place}: {type(error).__name__}: {str(error).splitlines()[0]}"
        raise typer.Exit(_fail(said, DEVICE_FAILED)) from None
    output.notice(f"study {study!r} has no more to do for this worker")


@app.command(
    epilog="Examples: `fewest train --preset question --classes 64 --max-epochs 3000` · "
    "`fewest train --set width=512 activation=sine optimizer=adam lr=0.01 gain=100 first_lr_ratio=0.001` · "
    "`fewest train --study default --save winner.pt`"
)
def train(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="More settings, after --set.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="question or answer: the page's two models.")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with one object of parameters.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of each parameter.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write parameters and trained weights here, for torch.load.")
    ] = None,
    data: Data = None,
    classes: Classes = None,
    inputs: Inputs = None,
    sigma: Sigma = None,
    target: Target = None,
    hold: Hold = None,
    max_epochs: MaxEpochs = None,
    device: Device = "auto",
    seed: Seed = None,
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """Train one configuration, of a preset, a file or settings, else the study's best, and say when it converged."""
    settings = [*(set_ or ()), *(more or ())]
    if sum(map(bool, (preset, config, settings))) > 1:
        raise SpecError("`--preset`, `--config` and `--set` exclude each other; give one")
    wanted: dict[str, Any] = {
        "inputs": inputs,
        "sigma": sigma,
        "target": target,
        "hold": hold,
        "max_epochs": max_epochs,
        "seed": seed,
    }
    if preset or config or settings:
        spec, samples = options.study_spec(classes, data, **wanted)
        default = spec.class_counts[0] if spec.data else DEFAULT_CLASSES
        if preset:
            counted = options.value("classes", classes) if classes else default
            try:
                configuration = preset_of(preset, counted, spec.training)
            except ValueError as error:
                raise SpecError(str(error)) from None
        else:
            configuration = options.configuration(classes, config, settings, default)
        spec.check(configuration)
    elif data:
        raise SpecError("`--data` needs `--preset`, `--config` or `--set`; a study has data of its own")
    else:
        store = Store.open(storage)
        record = store.read(studies.find, study)
        found = store.read(query.best, record, options.value("classes", classes) if classes else None, top=1)
        if not found:
            raise EngineError(f"nothing has converged in study {study!r} yet; give `--preset`, `--config` or `--set`")
        given = {name: value for name, value in wanted.items() if value is not None}
        spec = validated(json.loads(record.spec) | given)
        if spec.data:
            refuse_of_waves(given)
        from search.data import stored

        samples = stored(spec, store)
        configuration = Configuration.of(found[0]["params"])
    taken = save is not None and save.exists() and not save.is_file()  # a directory, a device
    if save and (taken or not save.parent.is_dir() or not os.access(save.parent, os.W_OK)):
        raise SpecError(f"cannot write {save}; `--save` names a file in a directory that you may write to")

    place = _devices(device)[0]
    from search.train import train as train_one

    with output.err.status("training") as shown:
        answer = train_one(spec, samples, configuration, place, save, shown.update)
    if format is Format.TABLE:
        output.line(configuration.in_words())
    output.record(answer, format)


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


@app.command(
    epilog="Examples: `fewest confirm` · `fewest confirm --top 3 --seeds 20` · `fewest confirm 12 40 --seeds 10`"
)
def confirm(
    which: Annotated[list[int] | None, typer.Argument(metavar="[TRIAL]...", help="Trials to re-run.")] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many of the best, if no trial is named.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, max=30, help="Fresh seeds that each is to have been run on.")] = 5,
    classes: Annotated[int | None, typer.Option(min=2, max=MOST, help="Only the best of this class count.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.  [default: as `launch`]")] = None,
    device: Device = "auto",
    storage: Storage = STORAGE,
    study: StudyName = STUDY,
    format: Output = Format.TABLE,
) -> None:
    """Re-run the best configurations on fresh seeds, without another trial, and rank them by what comes out."""
    there = _devices(device)
    store = Store.open(storage, patience=OUTAGE_SECONDS)
    record = store.read(studies.find, study)
    asked = {row["trial"]: row for row in store.read(query.best, record, classes, top=top if not which else MOST)}
    missing = [number for number in which or () if number not in asked]
    if missing or not asked:
        said = (
            f"trial {missing[0]} of study {study!r} has not converged"
            if missing
            else f"nothing has converged in {study!r}"
        )
        raise EngineError(f"{said}, so there is nothing to confirm; `fewest best` shows what has")
    from search.study import replicate

    spec = parsed(record.spec)
    rows = [asked[number] for number in which] if which else list(asked.values())
    new = [
        replicate(spec, row["trial"], k, row["params"], row["epochs"])
        for row in rows
        for k in range(row["replicates"] + 1, seeds + 1)
    ]
    store.write(studies.resume, record.study_id)
    store.write(ledger.add, record.study_id, new)
    places = [there[i % len(there)] for i in range(workers or len(there))]
    engine = LocalEngine(store, record, storage, places, "--only-waiting")
    with View(output.err) as view:
        if not engine.run(view.show):
            output.notice("stopped; nothing is lost, and the same command goes on")
            raise typer.Exit(130)
    named = {row["trial"] for row in rows}
    found = [row for row in store.read(query.best, record, classes, top=MOST) if row["trial"] in named]
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


@app.command()
def stop(storage: Storage = STORAGE, study: StudyName = STUDY) -> None:
    """Ask all workers of a study, wherever they run, to finish what they train and leave. `launch` goes on later."""
    store = Store.open(storage)
    store.write(studies.stop, store.read(studies.find, study).study_id)
    output.notice(f"study {study!r} is stopping; `fewest status` shows what still runs")


def main() -> None:
    """Run the command line; every expected failure is one line on stderr and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × still shows the rest
    logging.basicConfig(format="%(message)s", handlers=[output.Notices()])
    try:
        code = app(standalone_mode=False)
    except (SpecError, StorageMisuse) as error:
        code = _fail(str(error), 2)
    except (StorageError, EngineError) as error:
        code = _fail(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:  # of files that a command writes, or of stdout itself
        code = _fail(error.strerror or str(error), 1)
    except _UsageError as error:  # without a message when the help was shown instead
        code = _fail(error.format_message(), 2) if error.format_message() else 2
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    output.notice(f"error: {message}")
    return code


def _devices(asked: str) -> list[str]:
    try:
        return devices(asked)
    except ValueError as error:
        raise SpecError(str(error)) from None


if __name__ == "__main__":
    main()
