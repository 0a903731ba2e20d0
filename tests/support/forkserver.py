"""`python forkserver.py SOCKET` forks processes of the `fewest` command, which begin with their libraries loaded.

A cold one spends 1.3 s on torch, Optuna and SQLAlchemy before it reads its options, and a launch of two workers is
three of them. These are real processes, with a pid, an environment, a directory, files and signals of their own, and
import the command, which reads the environment, by themselves. Only their parent is another: the server, which runs
nothing that has threads.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

#: Imported by the server once: all of ours below the command, and what that takes from elsewhere.
LOADED = ("search.client", "search.serve.app", "search.serve.remote", "search.answer.report.pictures", "rich.progress")
LOADED += ("search.train.supervisor", "search.train.standing_worker", "search.train.worker", "search.train.dry_run")
LOADED += ("sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.psycopg", "rich.table", "typer", "webbrowser")
LOADED += ("optuna.samplers", "search.ask.proposals", "search.answer.ladder.ladder", "search.answer.why.why")
_COUNT = 4  # bytes of a number between the two
_HELD_BACK = signal.SIGINT, signal.SIGTERM

#: Where the server of this process listens; a process that it has forked asks the same one.
_address: str | None = None


class Process(subprocess.Popen[Any]):
    """`subprocess.Popen` of the command, whatever its first argument, forked instead of started cold."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        cwd, env, pipes, session = rest[4], rest[5], rest[9:15], rest[20]
        stdin, stdout, stderr = (own if own != -1 else i for i, own in enumerate((pipes[0], pipes[3], pipes[5])))
        asked = {
            "arguments": [os.fspath(each) for each in args][1 + ("search.cli.main" in args) * 3 :],
            "cwd": os.fspath(cwd or os.getcwd()),
            "environment": dict(os.environ if env is None else env),
            "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
            "ignored": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
            "session": bool(session),
            "parent": os.getpid(),
        }
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(_started())
        content = json.dumps(asked).encode()
        socket.send_fds(self._server, [len(content).to_bytes(_COUNT, "little")], [stdin, stdout, stderr])
        self._server.sendall(content)
        self.pid = int.from_bytes(self._server.recv(_COUNT), "little")
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        """As `os.waitpid`, which is for children: the server says how it ended."""
        try:
            status = self._server.recv(_COUNT, socket.MSG_DONTWAIT if flags else 0)
        except BlockingIOError:
            return 0, 0
        self._server.close()
        return self.pid, int.from_bytes(status, "little")

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and self._child_created:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode


def _started() -> str:
    """The address of this process's server, which is started at the first call and ends with this process."""
    global _address
    if _address is None:
        directory = tempfile.mkdtemp(prefix="fewest")
        _address = f"{directory}/socket"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(_address)
        listening.listen(64)
        command = [sys.executable, "-P", Path(__file__), _address, str(listening.fileno())]
        alone = os.environ | {"OMP_NUM_THREADS": "1"}  # a fork has no threads but the one that forked
        server = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listening.fileno()], env=alone)
        listening.close()
        atexit.register(_end, server, Path(directory))
    return _address


def _end(server: subprocess.Popen[bytes], directory: Path) -> None:
    assert server.stdin
    server.stdin.close()
    server.wait(10)
    for left in directory.iterdir():
        left.unlink()
    directory.rmdir()


def _serve(listening: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Returns the request in the forked process, and None when the client has gone."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    asking: dict[int, socket.socket] = {}
    while True:
        ready = select.select([0, woken, listening.fileno()], [], [])[0]
        if 0 in ready:
            for pid in asking:
                os.kill(pid, signal.SIGKILL)
            return None
        if woken in ready:
            os.read(woken, 1 << 10)
            _report(asking)
        if listening.fileno() in ready:
            client, _ = listening.accept()
            count, files, *_ = socket.recv_fds(client, _COUNT, 3)
            with client.makefile("rb") as content:
                request: dict[str, Any] = json.loads(content.read(int.from_bytes(count, "little")))
            signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)  # until it can take them
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                return request | {"files": files}
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
            for file in files:
                os.close(file)
            asking[pid] = client
            client.sendall(pid.to_bytes(_COUNT, "little"))


def _report(asking: dict[int, socket.socket]) -> None:
    """Say of each process that has ended how it did."""
    while asking:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with asking.pop(pid) as client, contextlib.suppress(OSError):  # who asked may have gone
            client.sendall(status.to_bytes(_COUNT, "little"))


def _become(request: dict[str, Any]) -> None:
    """Be the process that was asked for, to its end."""
    if request["session"]:
        os.setsid()
    for number, file in enumerate(request["files"]):
        os.dup2(file, number)
    os.closerange(3, max(request["files"]) + 64)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["fewest", *request["arguments"]]
    sys.stdin, sys.stdout = open(0), open(1, "w", 1 if os.isatty(1) else -1)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace")  # noqa: SIM115
    os.getppid = lambda: _parent(request["parent"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN if request["ignored"] else signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
    importlib.reload(sys.modules["search.logs"])  # its console looks at the terminal when it is made
    from search.cli.main import main
    from search.train import engine

    engine.Popen = Process  # type: ignore[misc]  # its own workers
    try:
        main()
    except SystemExit as left:
        _leave(int(left.code or 0))


def _leave(status: int) -> None:
    """End as the interpreter does, but for taking every loaded module apart, which takes 0.2 s."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _parent(pid: int) -> int:
    """What a process's parent is: who asked for it, or init once that has gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return 1
    return pid


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, for those who run the tests
    from numba.core.registry import cpu_target

    for name in LOADED:
        importlib.import_module(name)
    cpu_target.typing_context.refresh()  # which takes a worker 0.2 s at its first compiled function
    cpu_target.target_context.refresh()
    gc.freeze()  # else every process would copy all of it at its first collection
    _address = sys.argv[1]
    with socket.socket(fileno=int(sys.argv[2])) as listening:
        request = _serve(listening)
    if request:
        _become(request)
