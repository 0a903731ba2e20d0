"""The command that begins a search, and stays with it to its end: launch."""

import shlex
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from objectives.parameters import PARAMETERS, described
from objectives.trainers.trainer import TrainerKind
from search.cli import output
from search.cli.options import (
    MAX_INTEGER,
    AnyStudyOptions,
    Commands,
    Device,
    Sampler,
    SpecOptions,
    Trainer,
    Workers,
    available,
    remark,
    spread,
)
from search.cli.output import Format
from search.cli.progress import View
from search.client import STORAGE, STUDY, is_service
from search.errors import UsageError
from search.query.studies import DEFAULT_TRIALS, LocalStudies, Order, Studies
from search.spec import parsing
from search.spec.study_spec import StudySpec
from search.train.engine import Engine, LocalEngine
from search.train.processes import require_one_machine
from storage import studies
from storage.database import redacted
from storage.store import OUTAGE_SECONDS, Store

if TYPE_CHECKING:
    from search.train.ray_engine import Cluster

FOLLOW_SECONDS = 0.5  # between two looks at a study that a service runs

app = Commands()


class Engines(StrEnum):
    """What runs the workers of a launch."""

    LOCAL = "local"
    RAY = "ray"


@app.command(
    epilog=f"Parameters to fix, range or choose from: {described(list(PARAMETERS)[1:])}.\n\n"
    "Examples: `fewest launch` · `fewest launch --classes 64 --trials 100` · "
    "`fewest launch --fix activation=tanh --range lr=1e-4:1 --choices optimizer=adam,sgd` · "
    "`fewest launch --storage postgresql://localhost/fewest --study wide --range width=256:4096` · "
    "`fewest launch --engine ray --address auto --gpus-per-worker 1 --storage postgresql://db/fewest` · "
    "`fewest launch --data digits.npz --study digits --target 0.95` · "
    "`fewest launch --data iris.csv --label species --study iris --target 0.95` · "
    "`fewest launch --objective mynet:Net --range dropout=0.01:0.5 --choices kernel=3,5,7 --study mine` · "
    "`FEWEST_TOKEN=… fewest launch --storage https://HOST:8080 --study mine`"
)
def launch(
    asked: SpecOptions,
    at: AnyStudyOptions,
    trials: Annotated[
        int, typer.Option(min=1, max=MAX_INTEGER, help="Trials in all, over every run of this command.")
    ] = DEFAULT_TRIALS,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds after which no new trial is begun.")] = None,
    until_epochs: Annotated[
        int | None,
        typer.Option(
            min=0, max=MAX_INTEGER, help="Begin no new trial once a configuration of so few epochs is confirmed."
        ),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            min=0, max=MAX_INTEGER, help=f"Attempts after the first, if workers die.  [default: {studies.RETRIES}]"
        ),
    ] = None,
    workers: Workers = None,
    engine: Annotated[
        Engines, typer.Option(help="local: processes of this machine; ray: actors on the nodes of a Ray cluster")
    ] = Engines.LOCAL,
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster: auto, or HOST:PORT of its head.  [default: a Ray of this machine]"),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="GPU, or part of one, of each Ray actor.  [default: 1 if there are GPUs]"),
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
    device: Device = "auto",
    trainer: Trainer = TrainerKind.AUTO,
) -> None:
    """Search until TRIALS trials have an outcome, confirm the best on fresh seeds, and name the winner.

    The same command again goes on where it stopped, to exactly that many trials. Ctrl-C lets running trials finish; a
    second one leaves at once. With a service's URL its workers search, and Ctrl-C only looks away.

    The class of --objective is constructed by keyword with what it names of inputs, classes, hidden_layers, width,
    width_2, activation and bias_init, and with parameters of its own that you fix, range or choose from; a range of
    these is of whole numbers if both ends are, and on a log scale if it begins above 0. It maps (batch, inputs) to
    logits (batch, classes). Its first layer learns at lr × first_lr_ratio.
    """
    own = parsing.constructor(asked.objective)
    searched = parsing.dimensions(fix or (), range_ or (), choices or (), own)
    spec, samples = asked.read(searched, own, sampler=sampler)
    _check_sampler(spec, from_)
    order = Order(trials, timeout, retries, until_epochs, from_)
    _check_engine(engine, address, gpus_per_worker)
    if is_service(at.storage):
        plain = device == "auto" and trainer is TrainerKind.AUTO and engine is Engines.LOCAL and not workers
        return _follow(at, spec, order, plain)
    places = available(device if engine is Engines.LOCAL else "auto")
    if own:
        from search.train.dry_run import dry_run

        dry_run(spec, samples, places[0])
    cluster = _joined(address, gpus_per_worker, spec, at.storage) if engine is Engines.RAY else None
    store = Store.open(at.storage, create=not from_, patience=OUTAGE_SECONDS)  # the other study is in a store already
    require_one_machine(store)
    local = LocalStudies(store)
    if not local.launch(at.study, spec, order, samples) and from_:
        output.notice(f"study {at.study!r} has begun already; --from {from_} is for its beginning")
    remark(spec, samples)
    study = local.study(at.study)
    serving: Engine[Any]
    if cluster:
        serving = cluster.engine(store, study, at.storage, device, workers, "--trainer", trainer)
    else:
        serving = LocalEngine(store, study, at.storage, spread(places, workers), "--trainer", trainer)
    with View(output.err) as view:
        finished = serving.run(view.show)
    _conclude(local, at, order, finished)


def _follow(at: AnyStudyOptions, spec: StudySpec, order: Order, plain: bool) -> None:
    """Launch at a service, whose own workers search; `plain`: nothing is said of workers here."""
    if spec.data or spec.objective or ":" in spec.sampler or not plain:
        raise UsageError(
            "a service's own workers search: --data, --objective, a sampler's import path, --workers, --engine, "
            "--device and --trainer are for a database's URL"
        )
    from search.serve.remote import RemoteStudies  # which loads httpx

    remote = RemoteStudies(at.storage)
    remote.launch(at.study, spec, order)
    remote.patience = OUTAGE_SECONDS  # it was there
    _conclude(remote, at, order, _followed(remote, at.study, at.storage))


def _check_engine(engine: Engines, address: str | None, gpus: float | None) -> None:
    """UsageError for what is said about a Ray cluster when none is to be used."""
    for option, given in (("--address", address), ("--gpus-per-worker", gpus)):
        if engine is not Engines.RAY and given is not None:
            raise UsageError(f"`{option}` is for `--engine ray`")


def _joined(address: str | None, gpus: float | None, spec: StudySpec, storage: str) -> "Cluster":
    """The Ray cluster, joined before anything is stored, since it may not be there or not reach the store."""
    from search.train.ray_engine import join

    return join(address, gpus, spec, storage)


def _followed(remote: Studies, study: str, storage: str) -> bool:
    """Show how a service's workers get on, until the study is over; False if it is stopping. Ctrl-C only looks away."""
    with View(output.err) as view:
        try:
            before = None
            while True:
                state = remote.status(study)
                idle = not state.workers and before == state.epochs_trained
                view.show(state, "waiting for workers: `fewest worker` or `fewest serve --workers`" if idle else "")
                before = state.epochs_trained
                if state.over or (state.stopping and not state.running):
                    return state.over
                time.sleep(FOLLOW_SECONDS)
        except KeyboardInterrupt:
            goes_on = f"fewest stop --study {shlex.quote(study)} --storage {shlex.quote(storage)}"
            output.notice(f"no longer following study {study!r}, which goes on; `{goes_on}` ends it")
            raise typer.Exit(130) from None


def _conclude(studies: Studies, at: AnyStudyOptions, order: Order, finished: bool) -> None:
    """Say how a launch has ended."""
    study, storage = at.study, at.storage
    conclusion = studies.conclusion(study)
    state = conclusion.status
    if state.budget > order.trials:
        output.notice(f"study {study!r} has {state.budget} trials already, more than --trials {order.trials}")
    if not finished or (state.stopping and (state.finished < state.budget or state.confirming)):
        counts = f"stopped with {state.finished} of {state.budget} trials"
        output.notice(f"{counts}; nothing is lost, and the same command goes on")
        raise typer.Exit(0 if finished or is_service(storage) else 130)
    if at.format is not Format.TABLE:
        return output.answer(conclusion, at.format)
    output.conclusion(conclusion, order.until_epochs)
    where = "" if storage == STORAGE or redacted(storage) != storage else f" --storage {shlex.quote(storage)}"
    where += "" if study == STUDY else f" --study {shlex.quote(study)}"
    more = [] if is_service(storage) else ["train --save winner.pt", "dashboard"]
    output.line("Next: " + " · ".join(f"fewest {command}{where}" for command in ("best", "trials", *more)))


def _check_sampler(spec: StudySpec, source: str | None) -> None:
    """UsageError, before anything is stored, for a sampler that cannot be had or begins in its own way."""
    if source and spec.sampler in ("random", "qmc"):
        raise UsageError(f"`--from {source}` is for samplers that learn, not for {spec.sampler}")
    if ":" in spec.sampler:
        from search.ask.proposals import sampler

        sampler(spec.sampler, 0)
