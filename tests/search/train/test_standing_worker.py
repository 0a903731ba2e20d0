"""A standing worker serves every open study, fairly, waits for new ones, and leaves as schedulers want it to."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects  # type: ignore[import-untyped]

from search.ask.study import new_run
from search.cli.running import _draw
from search.query import runs as query
from search.spec.space import preset
from search.spec.stored_study import StoredStudy
from search.train import standing_worker
from search.train.processes import worker_name
from search.train.standing_worker import StandingWorker
from search.train.worker import Worker
from storage import ledger, schema, studies
from storage.optuna_storage import optuna_storage
from storage.schema import RunKind, RunState, attempts, runs
from storage.store import Store
from tests.search.train.test_worker import made
from tests.support.command import FEWEST
from tests.support.forkserver import Process

WAIT_SECONDS = 60.0


def named(store: Store, name: str, trials: int, **fields: Any) -> StoredStudy:
    """Another study like that of `made`."""
    record = made(store, trials, **fields)
    with store.engine.begin() as connection:
        for table, column in ((schema.optuna_studies, "study_name"), (schema.studies, "name")):
            connection.execute(sa.update(table).where(table.c[column] == "s").values({column: name}))
    return replace(record, name=name)


def until(holds: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is so."""
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < end and (process is None or process.poll() is None)
        time.sleep(0.05)


@contextmanager
def working(url: str, log: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`fewest worker` as a process, killed in the end."""
    with log.open("w") as said:
        process = Process([FEWEST, "worker", "--storage", url, *options], stderr=said, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def draw_nothing(_: StoredStudy) -> None:
    """No figures of a study that is over."""


def standing(store: Store, draw: Callable[[StoredStudy], None]) -> StandingWorker:
    """A standing worker of this process, until no study has anything to do."""

    def worker(record: StoredStudy, elsewhere: Callable[[], bool]) -> Worker:
        return Worker(store, record, "cpu", elsewhere=elsewhere)

    return StandingWorker(store, worker, draw, exit_idle=True)


def address(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


def test_it_serves_study_after_study_and_leaves_when_idle(store: Store, tmp_path: Path) -> None:
    """Each ends with exactly its trials, over, and with figures in the dashboard; the log says so, as JSON."""
    records = [named(store, name, 15) for name in ("a", "b")]
    log = tmp_path / "log"
    with working(address(store), log, "--exit-idle", "--log", "json") as process:
        assert process.wait(WAIT_SECONDS) == 0
    for record in records:
        state = store.read(query.status, record)
        assert (state.done, state.over, state.workers) == (15, True, 0)
        shown = get_plotly_graph_objects(optuna_storage(store).get_study_system_attrs(record.study_id))
        assert {"fewest-curves", "fewest-convergence-activation"} <= shown.keys()
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"time", "level", "message", "worker"} <= set(line) for line in told)
    assert {line["worker"] for line in told} == {worker_name(process.pid)}
    for study in ("a", "b"):
        here = [line for line in told if f"study {study!r}" in line["message"]]
        assert {line.get("study") for line in here} == {study}
        of_trials = [line for line in here if "epochs" in line["message"]]
        assert {line["trial"] for line in of_trials} >= {str(number) for number in range(15)}
        assert {line["attempt"] for line in of_trials} == {1}
    assert not any("study" in line for line in (told[0], told[-1]))


def test_what_it_says_of_a_misuse_is_json_too(sqlite: Store, tmp_path: Path) -> None:
    """The line that it ends with has the study and the worker."""
    log = tmp_path / "log"
    with working(address(sqlite), log, "--log", "json", "--study", "none") as process:
        assert process.wait(WAIT_SECONDS) == 2
    said = json.loads(log.read_text())
    assert (said["level"], said["study"], said["worker"]) == ("error", "none", worker_name(process.pid))
    assert said["message"].startswith("no study 'none' in ")


def test_it_begins_a_study_that_is_made_while_it_waits(store: Store, tmp_path: Path) -> None:
    """And drains at SIGTERM."""
    with working(address(store), tmp_path / "log") as process:
        until(lambda: "serving every open study" in (tmp_path / "log").read_text(), process)
        record = named(store, "late", 10)
        until(lambda: store.read(query.status, record).over, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0


def test_a_worker_that_cannot_draw_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each study's missing figures are a warning of the first who finds it over, and of nobody else."""
    monkeypatch.setitem(sys.modules, "search.answer.report.pictures", None)
    records = [named(store, name, 3) for name in ("a", "b")]
    standing(store, partial(_draw, store)).work(lambda: False)
    late = Worker(store, records[0], "cpu")
    late.work()
    assert not late.concluded
    assert all(store.read(query.status, record).over for record in records)
    said = [line for line in caplog.messages if "has no figures in the dashboard: ModuleNotFoundError" in line]
    assert len(said) == 2 and "study 'a'" in said[0] + said[1] and "study 'b'" in said[0] + said[1]


def test_one_worker_takes_turns_between_two_studies(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is over before the other has begun."""
    monkeypatch.setattr(standing_worker, "SLICE_SECONDS", 0.02)
    for name in ("a", "b"):
        named(store, name, 60)
    standing(store, draw_nothing).work(lambda: False)
    order = store.read(
        lambda connection: connection.scalars(
            sa.select(runs.c.study_id).where(runs.c.trial_id.is_not(None)).order_by(runs.c.run_id)
        ).all()
    )
    assert len(order) == 120
    assert len(set(order[:90])) == 2
    assert sum(one != other for one, other in pairwise(order)) > 1


def test_it_goes_where_no_worker_is(store: Store) -> None:
    """The study in which another one runs something comes second."""
    busy, idle = named(store, "busy", 20), named(store, "idle", 20)
    other = Worker(store, busy, "cpu")
    assert other._study.ask()
    found = {record.name: count for record, count in store.read(studies.open_ones)}
    assert found == {"busy": 1, "idle": 0}
    served: list[str] = []

    def serve(record: StoredStudy, _: Callable[[], bool]) -> Worker:
        served.append(record.name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        StandingWorker(store, serve, draw_nothing).work(lambda: False)
    assert served == [idle.name]


def test_a_spec_of_another_version_is_left_alone(store: Store, tmp_path: Path) -> None:
    """It is named once, with the reason, and the others are served; with --study it is an error."""
    newer, ours = named(store, "newer", 10), named(store, "ours", 10)
    spec = json.loads(newer.spec_json) | {"curriculum": 3}
    with store.engine.begin() as connection:
        mine = schema.studies.c.study_id == newer.study_id
        connection.execute(sa.update(schema.studies).where(mine).values(spec=json.dumps(spec)))
    with working(address(store), tmp_path / "log", "--exit-idle") as process:
        assert process.wait(WAIT_SECONDS) == 0
    said = (tmp_path / "log").read_text()
    assert said.count("leaving study 'newer' alone: the study was made by another version of fewest") == 1
    assert store.read(query.status, ours).done == 10 and store.read(query.status, newer).done == 0
    with working(address(store), tmp_path / "alone", "--study", "newer") as process:
        assert process.wait(WAIT_SECONDS) == 2


def test_what_cannot_finish_within_the_grace_is_released(store: Store, tmp_path: Path) -> None:
    """At no fault of the run, which then waits for another worker; the log names study, trial, attempt and worker."""
    record = named(store, "long", 0, max_epochs=10_000_000)
    endless = new_run(
        record.spec,
        RunKind.REFERENCE,
        "endless",
        preset("question", 8).params | {"optimizer": "sgd", "lr": 1e-9},
        10_000_000,
    )
    store.write(ledger.add, record.study_id, [endless])
    with working(address(store), tmp_path / "log", "--grace", "0.5", "--log", "json") as process:
        held = sa.select(runs.c.run_id).where(runs.c.state == RunState.RUNNING)
        until(lambda: store.read(sa.Connection.scalar, held), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 143
    *_, drains, released = (json.loads(line) for line in (tmp_path / "log").read_text().splitlines())
    its = {"study": "long", "worker": worker_name(process.pid)}
    assert drains.items() >= (its | {"message": "finishing what runs"}).items()
    assert released.items() >= (its | {"trial": "endless", "attempt": 1, "level": "warning"}).items()
    run = store.read(lambda connection: connection.execute(sa.select(runs)).one())
    ends = store.read(lambda connection: connection.scalars(sa.select(attempts.c.end)).all())
    assert (run.state, run.faults, ends) == (RunState.WAITING, 0, ["released"])
