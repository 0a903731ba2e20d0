"""The Ray engine: each worker is an actor, which Ray places on a node and starts again elsewhere if that node is lost.

An actor runs the very `worker` command as a process of its node, so that it serves, drains and dies as any other. Our
code and user code travel with it, on the PYTHONPATH that Ray makes of them: a node needs what we depend on, not
us. The storage URL reaches it as an argument, which Ray neither shows nor logs.
"""

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import metadata
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

from search.errors import Failure, UsageError
from search.query.records import Status
from search.spec.study_spec import StudySpec
from search.train.engine import RESTARTS, Engine, start
from storage.database import StorageMisuse, parse
from storage.store import Store
from storage.studies import StudyRecord

LOST = 75  # exit status of a worker whose actor is lost, as of one whose device has failed
ASK_SECONDS = 2.0  # between two questions to an actor whether it runs
KNOCK_SECONDS = 3.0  # for the head of a cluster to take a connection
SILENT_SECONDS = 10.0  # without an answer, after which an actor has no place in the cluster
OBJECT_STORE_BYTES = 80 << 20  # about the least that Ray takes: only last words pass through it
OURS = "objectives", "search", "storage"


@dataclass(frozen=True)
class Cluster:
    """The Ray cluster that this process has joined."""

    #: GPUs of one worker: none, a part of one, or one.
    gpus: float
    #: How many workers fit at once, if nobody else uses it.
    room: int

    def engine(
        self, store: Store, study: StudyRecord, url: str, device: str, workers: int | None, *options: str
    ) -> "RayEngine":
        """Workers of a study, by default as many as have room; `options` are those of the `worker` command."""
        n = workers or self.room
        if not n:
            needs = f" and {self.gpus:g} GPU" if self.gpus else ""
            raise Failure(f"no node of this Ray cluster has 1 CPU{needs} for a worker; see `--gpus-per-worker`")
        if not self.gpus and device == "auto":
            device = "cpu"  # a GPU that Ray did not give is another's
        arguments = _anywhere(url), device, "--study", study.name, *options
        return RayEngine(store, study, [HostedWorker(self.gpus, arguments) for _ in range(n)])


def join(address: str | None, gpus: float | None, spec: StudySpec, url: str) -> Cluster:
    """Join the cluster at an address, or start one of this machine alone, for the workers of a study.

    `gpus` of a worker are one by default where the cluster has any. StorageMisuse for SQLite with several machines.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray is going to do, and warns of till then
    try:
        import ray
    except ImportError:
        raise Failure("`--engine ray` needs Ray; pip install 'fewest[ray]'") from None
    alone = {"address": "local", "_node_ip_address": "127.0.0.1", "include_dashboard": False}
    where: dict[str, Any] = alone | {"object_store_memory": OBJECT_STORE_BYTES}
    if address is not None:
        where = {"address": address}
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # one try, of 40 s; by default it makes 20
        if address != "auto":
            _knock(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        ray.init(**where, **quiet, runtime_env={"py_modules": [str(path) for path in code(spec)]})
    except Exception as error:  # of sockets, of gRPC, of Ray's own
        fault = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0]
        more = "; `ray start --head` starts a cluster" if address == "auto" else ""
        raise Failure(f"cannot join Ray at {address or 'this machine'}: {fault}{more}") from None
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if len(nodes) > 1 and parse(url).get_backend_name() == "sqlite":
        raise StorageMisuse("a SQLite file is of one machine, and this Ray cluster is of several; name a Postgres")
    each = float(any(node.get("GPU") for node in nodes)) if gpus is None else gpus
    rooms = (min(node.get("CPU", 0), node.get("GPU", 0) / each if each else inf) for node in nodes)
    return Cluster(each, sum(map(int, rooms)))


def _knock(address: str) -> None:
    """Failure if nobody listens at HOST:PORT: Ray itself tries on for many minutes, and writes about it."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or int(port) > 0xFFFF:
        raise UsageError(f"`--address` is auto or HOST:PORT, on a machine of the cluster itself, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
    except (OSError, UnicodeError) as error:
        fault = getattr(error, "strerror", None) or error
        raise Failure(f"no Ray cluster listens at {address}: {fault}") from None


def code(spec: StudySpec) -> list[Path]:
    """Directories and files that a worker of this study imports and that are not installed from somewhere else."""
    ours = [_top(sys.modules[name]) for name in OURS]
    about = next(file for file in metadata.files("fewest") or () if file.name in ("METADATA", "PKG-INFO"))
    described = Path(str(about.locate())).parent  # a worker notes our version
    return [*ours, described, *_theirs(spec)]


def _theirs(spec: StudySpec) -> set[Path]:
    """The user modules that a study names, and those loaded with them from beside them."""
    paths = (path for path in (spec.objective, spec.sampler) if path and ":" in path)
    named = {path.partition(":")[0].partition(".")[0] for path in paths}
    beside = {_top(sys.modules[name]).parent for name in named}
    loaded = [module for name, module in list(sys.modules.items()) if "." not in name and name not in OURS]
    tops = {_top(module) for module in loaded if getattr(module, "__file__", None)}
    return {top for top in tops if top.parent in beside and not {"site-packages", "dist-packages"} & {*top.parts}}


def _top(module: ModuleType) -> Path:
    """The directory of a package, or the file of any other module."""
    return Path(next(iter(getattr(module, "__path__", ())), module.__file__ or "")).absolute()


class Host:
    """An actor: one worker process on the node where Ray has placed it."""

    def __init__(self, url: str, device: str, *options: str) -> None:
        self._worker = start(url, device, *options)

    def wait(self) -> tuple[int, str]:
        """The worker's exit status and last words, once it has left."""
        return self._worker.process.wait(), self._worker.last_words

    def request_stop(self, asked: int) -> None:
        """Tell the worker how often it has been asked to leave."""
        self._worker.request_stop(asked)


class HostedWorker:
    """A worker in an actor, as the engine sees it. Where it is started again, it is told again whether to stop."""

    def __init__(self, gpus: float, arguments: Sequence[str]) -> None:
        """`arguments` are those of `start`."""
        import ray

        self._gpus, self._arguments = gpus, arguments
        each = {"num_cpus": 1, "num_gpus": gpus, "max_concurrency": 2}  # `request_stop` comes while `wait` waits
        again = {"max_restarts": RESTARTS, "max_task_retries": RESTARTS}
        host: Any = ray.remote(Host)
        self._actor = host.options(**each, **again).remote(*arguments)
        self._waits = self._actor.wait.remote()
        self._left: tuple[int, str] | None = None
        self._asked = 0
        self._answer: Any = None
        self._sent = self._heard = time.monotonic()

    @property
    def status(self) -> int | None:
        if self._left is None and _come(self._waits):
            self._left = _end(self._waits)
        return self._left[0] if self._left else None

    @property
    def last_words(self) -> str:
        return self._left[1] if self._left else ""

    @property
    def placed(self) -> bool:
        """Whether its actor has been heard of lately."""
        return time.monotonic() - self._heard < SILENT_SECONDS

    def request_stop(self, asked: int) -> None:
        now, answered = time.monotonic(), self._answer is None or _come(self._answer)
        if answered:
            self._heard = now
        if asked > self._asked or (answered and now - self._sent > ASK_SECONDS):
            self._asked, self._sent, self._answer = asked, now, self._actor.request_stop.remote(asked)
        if asked > 2 or (asked and not self.placed):
            import ray

            ray.kill(self._actor)

    def another(self) -> "HostedWorker":
        return HostedWorker(self._gpus, self._arguments)


def _come(answer: Any) -> bool:
    import ray

    return bool(ray.wait([answer], timeout=0)[0])


def _end(answer: Any) -> tuple[int, str]:
    """How a worker has ended, in its own words or in Ray's."""
    import ray

    try:
        status, words = ray.get(answer)
    except ray.exceptions.RayError as error:
        return LOST, str(error).strip().splitlines()[-1].strip()
    return status, words


class RayEngine(Engine):
    """Workers wherever Ray places them."""

    def run(self, show: Callable[[Status, str], None]) -> bool:
        import ray

        with redirect_stdout(sys.stderr):  # Ray prints, even when it is left, that tasks are tried again
            try:
                return super().run(show)
            finally:
                ray.shutdown()

    def _look_after(self) -> str:
        self._tell(self._asked_to_leave)  # here, since a signal may come while Ray holds its own locks
        n = len(self._workers)
        placed = sum(isinstance(worker, HostedWorker) and worker.placed for worker in self._workers)
        return "" if placed == n else f"{placed} of {n} workers run; the cluster has no room yet for the others"


def _anywhere(url: str) -> str:
    """The storage URL, good in any directory."""
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        parsed = parsed.set(database=str(Path(parsed.database or "").absolute()))
    return parsed.render_as_string(hide_password=False)
