"""The command that begins a search, and stays with it to its end: launch."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from typer import Exit, Option

from objectives.parameters import PARAMETERS, described
from objectives.trainers.trainer import TrainerKind
from search.cli import options, output
from search.cli.options import at_least
from search.cli.output import Format
from search.cli.progress import stopped, view, watch
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

FOLLOW_SECONDS = 0.5  # between two looks at a study that a service runs

app = options.Commands()


class Engines(StrEnum):
    """What runs the workers of a launch."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class EngineOptions(options.WorkerOptions):
    """The workers of a launch, and what runs them."""

    engine: Annotated[
        Engines, Option(help="local: processes of this machine; ray: actors on the nodes of a Ray cluster")
    ] = Engines.LOCAL
    address: Annotated[
        str | None, Option(help="Of the Ray cluster: auto, or HOST:PORT of its head.  [default: a Ray of this machine]")
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        Option(min=0, max=1, help="GPU, or part of one, of each Ray actor.  [default: 1 if there are GPUs]"),
    ] = None
    trainer: options.Trainer = TrainerKind.AUTO

    def check(self) -> None:
        """UsageError for an option of Ray clusters without `--engine ray`."""
        for option, given in (("--address", self.address), ("--gpus-per-worker", self.gpus_per_worker)):
            if self.engine is not Engines.RAY and given is not None:
                raise UsageError(f"`{option}` is for `--engine ray`")

    def prepared(self, devices: Sequence[str], spec: StudySpec, url: str) -> Callable[..., Engine]:
        """A function that starts the workers; Failure, before anything is stored, if a Ray cluster cannot be joined."""
        settings = "--trainer", self.trainer
        if self.engine is Engines.LOCAL:
            return lambda store, study: LocalEngine(store, study, url, devices, *settings)
        from search.train.ray_engine import join

        cluster = join(self.address, self.gpus_per_worker, spec, url)
        return lambda store, study: cluster.engine(store, study, url, self.device, self.workers, *settings)


@app.command(epilog=f"Parameters to fix, range or choose from: {described(list(PARAMETERS)[1:])}.")
def launch(
    asked: options.SpecOptions,
    at: options.AnyStudyOptions,
    on: EngineOptions,
    trials: Annotated[int, at_least(1, "Trials in all, over every run of this command.")] = DEFAULT_TRIALS,
    timeout: Annotated[float | None, Option(min=0, help="Seconds after which no new trial is begun.")] = None,
    until_epochs: Annotated[
        int | None, at_least(0, "Begin no new trial once a configuration of so few epochs is confirmed.")
    ] = None,
    retries: Annotated[
        int | None, at_least(0, f"Attempts after the first, if workers die.  [default: {studies.RETRIES}]")
    ] = None,
    sampler: Annotated[str | None, options.of_spec("sampler")] = None,
    from_: Annotated[
        str | None,
        Option("--from", help="Begin a study with the best of another one, carried to this one's class counts."),
    ] = None,
    fix: Annotated[list[str] | None, Option(help="NAME=VALUE: a parameter that is not searched.")] = None,
    range_: Annotated[list[str] | None, Option("--range", help="NAME=LOW:HIGH: where to search a number.")] = None,
    choices: Annotated[list[str] | None, Option(help="NAME=A,B,…: what to choose from.")] = None,
) -> None:
    """Search until TRIALS trials have an outcome, confirm the best on fresh seeds, and name the winner.

    The same command again goes on where it stopped, to exactly that many trials. Ctrl-C lets running trials finish; a
    second one leaves at once. With a service's URL its workers search, and Ctrl-C only looks away.

    The class of --objective is constructed by keyword with what it names of inputs, classes, hidden_layers, width,
    width_2, activation and bias_init, and with parameters of its own that you fix, range or choose from; a range of
    these is of whole numbers if both ends are, and on a log scale if it begins above 0. It maps (batch, inputs) to
    logits (batch, classes). Its first layer learns at lr × first_lr_ratio.

    README, "Words", says what epoch, rung, replicate and the other words of this help mean.

    Examples: `fewest launch` · `fewest launch --classes 64 --trials 100` ·
    `fewest launch --fix activation=tanh --range lr=1e-4:1 --choices optimizer=adam,sgd` ·
    `fewest launch --storage postgresql://localhost/fewest --study wide --range width=256:4096` ·
    `fewest launch --engine ray --address auto --gpus-per-worker 1 --storage postgresql://db/fewest` ·
    `fewest launch --data digits.npz --study digits --target 0.95` ·
    `fewest launch --data iris.csv --label species --study iris --target 0.95` ·
    `fewest launch --objective mynet:Net --range dropout=0.01:0.5 --choices kernel=3,5,7 --study mine` ·
    `FEWEST_TOKEN=… fewest launch --storage https://HOST:8080 --study mine`
    """
    own = parsing.constructor(asked.objective)
    searched = parsing.dimensions(fix or (), range_ or (), choices or (), own)
    spec, samples = asked.read(searched, own, sampler=sampler)
    _check_sampler(spec, from_)
    on.check()
    order = Order(trials, timeout, retries, until_epochs, from_)
    if is_service(at.storage):
        return _follow(at, spec, order, on)
    devices = on.devices() if on.engine is Engines.LOCAL else options.available("auto")
    if own:
        from search.train.dry_run import dry_run

        dry_run(spec, samples, devices[0])
    begin = on.prepared(devices, spec, at.storage)
    store = Store.open(at.storage, create=not from_, patience=OUTAGE_SECONDS)  # the other study is in a store already
    require_one_machine(store)
    local = LocalStudies(store)
    if not local.launch(at.study, spec, order, samples) and from_:
        output.notice(f"study {at.study!r} has begun already; --from {from_} is for its beginning")
    options.remark(spec, samples)
    _conclude(local, at, order, watch(begin(store, local.study(at.study))))


def _follow(at: options.AnyStudyOptions, spec: StudySpec, order: Order, on: EngineOptions) -> None:
    """Launch at a service, whose own workers search, and show how they get on; Ctrl-C only looks away."""
    if spec.data or spec.objective or ":" in spec.sampler or on != EngineOptions():
        raise UsageError(
            "a service's own workers search: --data, --objective, a sampler's import path, --workers, --engine, "
            "--device and --trainer are for a database's URL"
        )
    from search.serve.remote import RemoteStudies  # which loads httpx

    remote = RemoteStudies(at.storage)
    remote.launch(at.study, spec, order)
    remote.patience = OUTAGE_SECONDS  # it was there
    before = None
    try:
        with view() as shown:
            while True:
                state = remote.status(at.study)
                idle = not state.workers and before == state.epochs_trained
                shown.show(state, "waiting for workers: `fewest worker` or `fewest serve --workers`" if idle else "")
                before = state.epochs_trained
                if state.over or (state.stopping and not state.running):
                    break
                time.sleep(FOLLOW_SECONDS)
    except KeyboardInterrupt:
        goes_on = f"fewest stop --study {shlex.quote(at.study)} --storage {shlex.quote(at.storage)}"
        output.notice(f"no longer following study {at.study!r}, which goes on; `{goes_on}` ends it")
        raise Exit(130) from None
    _conclude(remote, at, order, state.over)


def _conclude(studies: Studies, at: options.AnyStudyOptions, order: Order, finished: bool) -> None:
    """Print how a launch has ended."""
    study, storage = at.study, at.storage
    conclusion = studies.conclusion(study)
    state = conclusion.status
    if state.budget > order.trials:
        output.notice(f"study {study!r} has {state.budget} trials already, more than --trials {order.trials}")
    if not finished or (state.stopping and (state.finished < state.budget or state.confirming)):
        stopped(finished or is_service(storage), f"stopped with {state.finished} of {state.budget} trials")
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
