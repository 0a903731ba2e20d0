"""Processes of this machine: this one handles signals, and the leases of dead workers are ended."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from storage import leases
from storage.leases import Process
from storage.store import Store

GRACE_SECONDS = 25.0  # from SIGTERM until what runs is released; Kubernetes kills after 30
_ASKS = signal.SIGINT, signal.SIGTERM


@contextmanager
def signals_blocked() -> Iterator[None]:
    """SIGINT and SIGTERM wait for a process that is started within until it is `handling` them.

    Python would ignore them where a script's `&` had them ignored here, and could lose them among its imports.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handling(handle: Callable[[int], None], grace: float | None = None) -> Iterator[None]:
    """Call `handle` with its number at SIGINT and SIGTERM, in place of what they did before.

    After SIGTERM it is called again when `grace` seconds are over, with SIGALRM: schedulers kill what is still there.
    """

    def handler(number: int, _: object) -> None:
        if number == signal.SIGTERM and grace is not None:
            signal.setitimer(signal.ITIMER_REAL, grace)
        handle(number)

    numbers = (*_ASKS, *(() if grace is None else (signal.SIGALRM,)))
    before = [signal.signal(number, handler) for number in numbers]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKS)
    try:
        yield
    finally:
        if grace is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, was in zip(numbers, before, strict=True):
            signal.signal(number, was)


def worker_name(number: int) -> str:
    """The name, in the store and in logs, of the worker with this process number here."""
    return f"{socket.gethostname()}:{number}"


def this_process() -> Process:
    """This process as other workers can look it up."""
    return Process(_machine(), os.getpid())


def require_one_machine(store: Store) -> None:
    """SingleMachineOnly if the store is a SQLite file and another machine's worker works on it."""
    store.read(leases.require_one_machine, _machine())


def expire_dead_workers(store: Store) -> None:
    """End the leases of this machine's workers whose process is gone."""
    store.write(leases.expire_dead_workers, _machine(), _alive)


def _alive(number: int) -> bool:
    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _machine() -> str:
    """The scope of process numbers: this boot of this machine, and the container where there is one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        return f"{socket.gethostname()}/{psutil.boot_time():.0f}"
