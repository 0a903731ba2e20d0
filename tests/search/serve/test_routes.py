"""What may be asked of a store may be asked of a service, with the same answers; and it answers whatever it is sent."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from search.client import connect
from search.errors import Conflict, UsageError
from search.query.studies import Order
from search.serve.remote import RemoteStudies
from search.spec.study_spec import StudySpec
from storage.database import NotFound, StorageError, StorageMisuse
from storage.schema import PENDING, attempts, runs
from storage.store import Store
from tests.search.ask.test_study import begun, work
from tests.search.train.test_standing_worker import address, until, working
from tests.support.command import FEWEST, QUICK, command
from tests.support.forkserver import Process
from tests.support.service import Served, served

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CHECKS += ",negative_data_rejection,unsupported_method"
#: Without `examples`: the study that it makes would have every later body of that name refused for its spec alone.
PHASES = "coverage,fuzzing,stateful"

#: Trials of some hundredths of a second each, none of which converges.
STEADY = ["--classes", "128", "--max-epochs", "8", "--fix", "activation=sigmoid", "--fix", "gain=1"]
STEADY += ["--fix", "width=1024", "--fix", "hidden_layers=1"]


@pytest.fixture(scope="module")
def service(empty_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with a study `s` of 40 trials and a worker."""
    directory = tmp_path_factory.mktemp("served")
    (directory / "fewest.db").write_bytes(empty_sqlite.read_bytes())
    store = Store.open(f"sqlite:///{directory}/fewest.db")
    _, study = begun(store, 40)
    work(study)
    store.close()
    with served(directory, "--workers", "1", "--rate", "100000") as running:
        yield running


def test_a_client_of_the_service_answers_as_the_store_does(service: Served) -> None:
    """`search.connect` of either: the same records."""
    store = connect(f"sqlite:///{service.directory}/fewest.db")
    with store, connect(service.url) as client:
        where = {"lr": (0.1, 0.123456789), "optimizer": ["adam", "sgd", "nadam"]}
        assert client.best(study="s", top=3) == store.best(study="s", top=3) != []
        assert client.best(study="s", where=where) == store.best(study="s", where=where)
        per = {"study": "s", "by": "weights"}
        assert client.best_per("activation", **per) == store.best_per("activation", **per) != []
        assert client.best(study="s", target=0.2, hold=1) == store.best(study="s", target=0.2, hold=1)
        assert client.trials(study="s", limit=5, after=3) == store.trials(study="s", limit=5, after=3)
        assert len(client.trials(study="s")) == 40
        assert client.status(study="s") == store.status(study="s")
        with pytest.raises(NotFound, match="no study 'S'"):
            client.status(study="S")
        with pytest.raises(UsageError, match="did you mean 'lr'"):
            client.best(study="s", where={"lrr": 1.0})


def test_pages_follow_each_other_to_the_end(service: Served) -> None:
    """Each says where the next begins, and the last that there is none."""
    with service.client() as client:
        after, trials = -1, []
        while after is not None:
            page = client.get(f"/v1/studies/s/trials?after={after}&limit=15").json()
            trials += [trial["trial"] for trial in page["trials"]]
            after = page["next"]
        assert trials == list(range(40))
        assert client.get("/v1/studies/s/trials?limit=1001").status_code == 422


def test_a_launch_at_a_service_is_run_by_its_workers(service: Served) -> None:
    """It ends with a winner; the same again adds nothing; another spec is refused; `stop` and `best` reach it, too."""
    options = ["--storage", service.url, "--study", "far"]
    launched = command(service.directory, "launch", *QUICK, "--trials", "20", *options)
    assert launched.returncode == 0, launched.stderr
    assert "Winner for 8 classes" in launched.stdout and "20 of 20 trials done" in launched.stdout
    assert command(service.directory, "launch", *QUICK, "--trials", "20", *options).stdout == launched.stdout
    other = command(service.directory, "launch", *QUICK, "--target", "0.5", *options)
    assert other.returncode == 2 and "has `target` 0.99, not 0.5" in other.stderr
    assert command(service.directory, "best", *options).stdout.startswith("rank")
    assert command(service.directory, "stop", *options).returncode == 0
    assert '"stopping": true' in command(service.directory, "status", "--format", "json", *options).stdout
    with service.client() as client:
        assert client.delete("/v1/studies/far").status_code == 200
        assert client.get("/v1/studies/far").json() == {"detail": "no study 'far'; it has s"}


@pytest.mark.parametrize("spec", [{"sampler": "os:system"}, {"space": {"objective": {"values": ["os:system"]}}}])
def test_nobodys_code_comes_in(service: Served, spec: dict[str, object]) -> None:
    """Neither a sampler nor an objective by its import path, and nothing is stored."""
    with service.client() as client:
        assert client.post("/v1/studies", json={"name": "evil", "spec": spec}).status_code == 422
        assert client.get("/v1/studies/evil").status_code == 404
    refused = command(
        service.directory, "launch", "--sampler", "optuna.samplers:NSGAIISampler", "--storage", service.url
    )
    assert refused.returncode == 2 and "for a database's URL" in refused.stderr


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"space": {"activation": {"values": ["tanh,relu"]}}}, "unknown `activation` 'tanh,relu'"),
        ({"space": {"classes": {"values": ["2..16"]}}}, "`classes` must be a whole number from 2 to"),
        ({"space": {"width": {"values": ["64"]}}}, "`width` must be a whole number from 1 to 1048576, got '64'"),
        ({"space": {"width": {"values": [True]}}}, "`width` must be a whole number"),
        ({"space": {"lr": {"low": "0.1", "high": 1}}}, "body.spec.space.lr.range.low: Input should be a valid number"),
        ({"space": {"lr": {"low": False, "high": 1}}}, "body.spec.space.lr.range.low: Input should be a valid number"),
        ({"space": {"lr": [0.1, 1]}}, "body.spec.space.lr: A dimension reads"),
        ({"space": {"lrr": {"values": [1]}}}, "did you mean 'lr'?"),
        ({"space": {"batch_size": {"values": [8]}}}, "`batch_size` is for data of your own"),
        ({"hold": "3"}, "body.spec.hold: Input should be a valid integer"),
        ({"target": 1.5}, "body.spec.target: Input should be less than or equal to 1"),
        ({"data": {"name": "own.npz", "digest": "0"}}, "body.spec.data: Input should be None"),
        ({"start": [{"lr": 1.0}]}, "body.spec.start: Tuple should have at most 0 items"),
        ({"objective": "os:system"}, "body.spec.objective: Extra inputs are not permitted"),
    ],
)
def test_no_text_of_the_command_line_is_read(service: Served, spec: dict[str, object], message: str) -> None:
    """A body holds JSON values: text in place of them, like all that a service does not take, is refused in a line."""
    with service.client() as client:
        answer = client.post("/v1/studies", json={"name": "typed", "spec": spec})
        assert answer.status_code == 422 and message in answer.json()["detail"]
        assert "\n" not in answer.json()["detail"]
        assert client.get("/v1/studies/typed").status_code == 404


def test_numbers_that_json_lacks_are_refused(service: Served) -> None:
    """NaN and infinities, which Python's JSON reads: in a spec, and in a question."""
    with service.client() as client:
        for number in ("NaN", "Infinity", "1e999"):
            space = '{"lr": {"low": 0.1, "high": NUMBER}}'.replace("NUMBER", number)
            body = f'{{"name": "typed", "spec": {{"space": {space}}}}}'
            answer = client.post("/v1/studies", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 422 and "finite number" in answer.json()["detail"]
            answer = client.get("/v1/studies/s/best", params={"where": space})
            assert answer.status_code == 422 and "finite number" in answer.json()["detail"]


def test_the_spec_that_a_service_answers_makes_the_same_study(service: Served) -> None:
    """Whole, or what of it differs from the defaults; a study of it is there already, however it is written."""
    partial: dict[str, Any] = {"target": 0.5, "space": {"classes": {"values": [8]}, "width": {"low": 8, "high": 64}}}
    fixed = StudySpec.of(target=0.5, space=partial["space"])
    with service.client() as client, closing(RemoteStudies(service.url)) as studies:
        created = client.post("/v1/studies", json={"name": "again", "spec": partial, "trials": 1})
        assert created.status_code == 201 and created.json()["created"]
        whole = client.get("/v1/studies/again").json()["spec"]
        assert StudySpec.model_validate(whole) == fixed
        assert client.post("/v1/studies", json={"name": "again", "spec": whole, "trials": 1}).status_code == 200
        assert not studies.launch("again", fixed, Order(1))
        wider = {**partial["space"], "width": {"low": 8, "high": 65}}
        with pytest.raises(Conflict, match=r"has `width` 8:64, not 8:65"):
            studies.launch("again", StudySpec.of(target=0.5, space=wider), Order(1))
        assert client.delete("/v1/studies/again").status_code == 200


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("lr=0.1", "query.where: Invalid JSON"),
        ("[]", "query.where: Input should be a valid dictionary"),
        ('{"lr": "0.1:1"}', "query.where.lr: A dimension reads"),
        ('{"lr": {"values": ["0.1"]}}', "`lr` is a number, got '0.1'"),
        ('{"lr": {"low": "0.1", "high": 1}}', "query.where.lr.range.low: Input should be a valid number"),
        ('{"lrr": {"values": [1]}}', "did you mean 'lr'?"),
    ],
)
def test_where_is_json(service: Served, where: str, message: str) -> None:
    """Dimensions by parameter; what is none is refused in one line."""
    with service.client() as client:
        answer = client.get("/v1/studies/s/best", params={"where": where})
        assert answer.status_code == 422 and message in answer.json()["detail"], answer.json()
        narrowed = client.get("/v1/studies/s/best", params={"where": '{"lr": {"low": 0.1, "high": 0.5}}'}).json()[
            "best"
        ]
        assert narrowed and all(0.1 <= row["params"]["lr"] <= 0.5 for row in narrowed)


@pytest.mark.parametrize("name", ["a/b", ".", "..", " ", "a\nb", "\0", "x\u202ey"])
def test_a_name_that_nobody_could_ask_for_is_refused(service: Served, name: str) -> None:
    """By the service, and by its client before it asks: a path's dots and slashes would lead elsewhere."""
    with service.client() as client:
        refused = client.post("/v1/studies", json={"name": name})
    assert refused.status_code == 422 and refused.json()["detail"].startswith("body.name: ")
    with connect(service.url) as client, pytest.raises(UsageError, match="name"):
        client.status(study=name)


def test_a_path_that_a_service_lacks_is_no_missing_study(service: Served) -> None:
    """As when its URL is given with a path: one line about the URL."""
    with connect(f"{service.url}/v1") as client, pytest.raises(StorageError, match="check its URL"):
        client.status(study="s")


def test_whatever_the_document_allows_or_not_is_answered_as_it_says(service: Served) -> None:
    """No fault, no status that the OpenAPI document lacks, and what it forbids is refused."""
    ask = Path(sys.executable).parent / "schemathesis", "run", f"{service.url}/openapi.json", "--checks", CHECKS
    done = subprocess.run(
        [*ask, "--phases", PHASES, "--max-examples", "30", "--seed", "1", "--generation-deterministic", "--no-color"],
        cwd=service.directory,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Tested: 10" in done.stdout, done.stdout[-6000:]
    assert "Traceback" not in service.said()


def test_a_service_may_be_killed_and_started_again_in_mid_study(sqlite: Store, tmp_path: Path) -> None:
    """Its worker goes on meanwhile; a client made before, and a launch that follows, are answered by the next one."""
    url = address(sqlite)
    with ExitStack() as stack:
        first = stack.enter_context(served(tmp_path, "--storage", url))
        client = stack.enter_context(connect(first.url, patience=60))
        worker = stack.enter_context(working(url, tmp_path / "worker.log"))
        launch = [FEWEST, "launch", *STEADY, "--trials", "60", "--study", "s", "--storage", first.url]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        follower = stack.enter_context(Process(launch, cwd=tmp_path, **pipes))
        until(lambda: _outcomes(sqlite) > 5, worker)
        assert client.status(study="s").budget == 60
        first.process.kill()
        first.process.wait()
        first.process.returncode = 0  # it was on purpose
        before = _outcomes(sqlite)
        with connect(first.url, patience=0) as hasty, pytest.raises(StorageError, match="does not answer"):
            hasty.status(study="s")
        until(lambda: _outcomes(sqlite) > before + 5, worker)
        # Until there is somebody to see the rest; in a transaction of ours, so in none of its own, which would lock.
        sqlite.write(lambda _: worker.send_signal(signal.SIGSTOP))
        stack.enter_context(served(tmp_path, "--storage", url, "--port", first.url.rsplit(":", 1)[1]))
        assert not client.status(study="s").over
        worker.send_signal(signal.SIGCONT)
        out, err = follower.communicate(timeout=60)
        assert follower.returncode == 0 and "60 of 60 trials done" in out, err
        assert [trial.trial for trial in client.trials(study="s")] == list(range(60))
        assert worker.poll() is None and not sqlite.read(lambda found: found.execute(sa.select(attempts)).all())


def _outcomes(store: Store) -> int:
    """Of all trials, and whatever else was run."""
    told = sa.select(sa.func.count()).where(runs.c.outcome_seq < PENDING)
    return store.read(lambda connection: connection.scalar(told) or 0)


def test_what_is_no_service_is_named(tmp_path: Path) -> None:
    """Another server, nothing at all, and a command that needs the database."""
    with pytest.raises(StorageMisuse, match="launch, status, best, trials and stop"):
        Store.open("http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(StorageError, match="is `fewest serve` running there"):
        RemoteStudies("http://127.0.0.1:1", patience=0.3).listed()
    launched = command(tmp_path, "launch", "--storage", "http://127.0.0.1:1")
    assert launched.returncode == 1 and "is `fewest serve` running there" in launched.stderr
    assert time.monotonic() - began < 60  # it waits five minutes only for one that has answered before
