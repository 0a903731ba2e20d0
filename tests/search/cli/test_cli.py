"""The command as its users meet it: answers on stdout, one line for a mistake, the right exit status."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.command import FEWEST, QUICK, Fewest, cold

TRAIN = ["train", "--set", "width=64", "activation=sine", "optimizer=adam", "lr=0.01", "gain=30", "scaling=fixed"]


@pytest.fixture
def store(searched: Path, tmp_path: Path) -> Path:
    """A finished study where the test's own command looks."""
    return Path(shutil.copy(searched / "fewest.db", tmp_path))


def test_a_study_is_launched_asked_about_and_used(fewest: Fewest, store: Path) -> None:
    """One launched study answers every command, as JSON that is alone on stdout."""
    best = json.loads(fewest("best", "--format", "json").stdout)
    assert {"trial", "classes", "epochs", "replicates", "replicates_converged", "params"} <= best[0].keys()
    assert best[0]["confirmed"] and best[0]["replicates"] == 5
    top = json.loads(fewest("best", "--classes", "8", "--top", "3", "--format", "json").stdout)
    assert top == best[:3]
    other = fewest("best", "--classes", "9", "--format", "json")
    assert other.returncode == 2 and "unknown `classes` 9; it is one of 8" in other.stderr

    status = json.loads(fewest("status", "--format", "json").stdout)
    assert status["done"] == status["budget"] == 30 and status["workers"] == 0

    trials = json.loads(fewest("trials", "--limit", "1000", "--format", "json").stdout)
    assert [row["trial"] for row in trials] == list(range(30))
    table = fewest("trials", "--limit", "5").stdout.splitlines()
    assert table[0].split()[-1] == "configuration" and [line.split()[0] for line in table[1:]] == list("01234")
    csv = fewest("trials", "--limit", "1000", "--format", "csv").stdout.splitlines()
    assert len(csv) == 31 and csv[0].startswith("trial,state,classes,converged")

    winner = json.loads(fewest("train", "--save", "winner.pt", "--format", "json").stdout)
    assert winner["params"] == best[0]["params"] and winner["converged"]
    saved = torch.load(store.parent / "winner.pt")
    assert saved["params"] == winner["params"] and saved["state_dict"]["layers.0.weight"].shape[1] == 16


def test_every_trial_can_be_asked_why_it_missed(fewest: Fewest, store: Path) -> None:
    """Cause, advice and what came of it; nothing of a converged trial; an error for one that does not exist."""
    trials = json.loads(fewest("trials", "--format", "json").stdout)
    hit, miss = (next(str(row["trial"]) for row in trials if row["converged"] is is_hit) for is_hit in (True, False))
    assert fewest("why", hit).stdout.strip().endswith("nothing held it back")
    answer = json.loads(fewest("why", miss, "--format", "json").stdout)
    first = answer["steps"][0]
    assert answer["trial"] == int(miss) and first["cause"] and first["advice"] and "accuracy" in first["tried"]
    table = fewest("why", miss).stdout.splitlines()
    assert table[0] == answer["said"] and table[1].startswith(f"1. {first['sentence']} With ")
    wrong = fewest("why", "999")
    assert wrong.returncode == 2 and "has no trial 999; the nearest is 29" in wrong.stderr


def test_the_same_command_again_adds_nothing_and_more_trials_add_the_difference(fewest: Fewest, store: Path) -> None:
    """A finished study stays as it is; a raised budget is filled up to exactly."""
    again = fewest("launch", *QUICK, "--trials", "30", "--seed", "1", "--format", "json")
    assert again.returncode == 0 and json.loads(again.stdout)["status"]["done"] == 30
    more = fewest("launch", *QUICK, "--trials", "34", "--seed", "1", "--format", "json")
    answer = json.loads(more.stdout)
    assert answer["status"]["done"] == 34 and answer["winner"]["confirmed"]
    assert answer["question"]["params"]["optimizer"] == "rmsprop"


def test_a_deadline_begins_no_trial_and_the_answer_is_still_given(fewest: Fewest, store: Path) -> None:
    """With no time for another of many trials, the launch ends at once with the winner there is."""
    done = fewest("launch", *QUICK, "--trials", "5000", "--seed", "1", "--timeout", "0", "--format", "json")
    answer = json.loads(done.stdout)
    assert answer["status"]["done"] == 30 and answer["status"]["budget"] == 5000 and answer["winner"]["confirmed"]


def test_a_launch_ends_when_it_has_what_was_asked_for(fewest: Fewest, store: Path) -> None:
    """With a confirmed configuration of so few epochs no trial is begun; the end says what more could do."""
    best = json.loads(fewest("best", "--format", "json").stdout)[0]
    epochs = str(max(2, *best["replicate_epochs"]))
    done = fewest("launch", *QUICK, "--trials", "5000", "--seed", "1", "--until-epochs", epochs)
    assert done.returncode == 0 and f"At most {epochs} epochs confirmed after 30 trials" in done.stdout
    assert "more trials " in done.stdout


def test_confirm_runs_more_seeds_and_no_other_trial(fewest: Fewest, store: Path) -> None:
    """The best get as many replicates as asked for, also by number; the same command again has nothing to do."""
    best = json.loads(fewest("best", "--format", "json").stdout)
    again = json.loads(fewest("confirm", "--top", "1", "--seeds", "7", "--format", "json").stdout)
    assert [(row["trial"], row["replicates"]) for row in again] == [(best[0]["trial"], 7)]
    last = str(best[-1]["trial"])
    (one,) = json.loads(fewest("confirm", last, "--seeds", "6", "--format", "json").stdout)
    assert one["trial"] == int(last) and one["replicates"] == 6
    assert json.loads(fewest("status", "--format", "json").stdout)["done"] == 30
    missed = next(row["trial"] for row in json.loads(fewest("trials", "--format", "json").stdout) if row["end"])
    for arguments, said in (
        ([str(missed)], f"trial {missed} of study 'default' has not converged"),
        (["9999"], "study 'default' has no trial 9999; the nearest is 29 of 0 to 29"),
        (["9" * 30], "less than or equal to 2147483647"),
        (["--seeds", "99"], "--seeds"),
    ):
        refused = fewest("confirm", *arguments)
        assert refused.returncode and said in refused.stderr and refused.stdout == ""


def test_a_study_over_class_counts_learns_from_another_and_prints_its_front(fewest: Fewest, store: Path) -> None:
    """It begins with the other's best; each class count has a line, and the front comes last."""
    counts = ["--study", "counts", "--from", "default", "--classes", "4..16"]
    done = fewest("launch", *QUICK[2:], *counts, "--trials", "40")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["classes", "4", "8", "16"]
    assert any(line.startswith("Front: 16 classes in ") for line in lines)
    first = json.loads(fewest("trials", "--study", "counts", "--limit", "9", "--format", "json").stdout)
    taught = json.loads(fewest("best", "--top", "3", "--format", "json").stdout)
    begun = [(classes, row["params"]["lr"]) for classes in (4, 8, 16) for row in taught]
    assert [(row["classes"], row["params"]["lr"]) for row in first[: len(begun)]] == begun


def test_a_lower_budget_keeps_what_there_is_and_says_so(fewest: Fewest, store: Path) -> None:
    """Fewer trials than the study has add none and lose none."""
    done = fewest("launch", *QUICK, "--trials", "20", "--seed", "1", "--format", "json")
    assert json.loads(done.stdout)["status"]["done"] == 30 and "more than --trials 20" in done.stderr


def test_files_of_the_users_directory_do_not_stand_in_for_modules(tmp_path: Path) -> None:
    """As users start it: a `search` folder or a `random.py` where the command is run are the user's own business."""
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "__init__.py").touch()
    (tmp_path / "random.py").write_text("raise SystemExit('my own file ran')")
    done = cold(tmp_path, "launch", *QUICK, "--trials", "3", "--format", "json")
    assert done.returncode == 0 and json.loads(done.stdout)["status"]["done"] == 3


def test_another_spec_is_refused_and_names_the_field(fewest: Fewest, store: Path) -> None:
    """A study keeps its spec: the difference is named, and the store is as before."""
    refused = fewest("launch", *QUICK, "--trials", "99", "--seed", "1", "--target", "0.5")
    assert refused.returncode == 2 and refused.stdout == ""
    assert (
        refused.stderr.count("\n") == 1 and "`target` 0.99, not 0.5" in refused.stderr and "--study" in refused.stderr
    )
    assert json.loads(fewest("status", "--format", "json").stdout)["budget"] == 30


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["launch", "--fix", "widht=3"], "did you mean 'width'"),
        (["launch", "--range", "lr=1:0.1"], "the range of `lr` is empty"),
        (["launch", "--range", "activation=1:2"], "not of choices"),
        (["launch", "--choices", "optimizer=adm"], "unknown `optimizer` 'adm'"),
        (["launch", "--target", "1.5"], "`target` must be in (0, 1]"),
        (["launch", "--classes", "16..8"], "the range is empty"),
        (["launch", "--trials", "0"], "--trials"),
        (["launch", "--trials", "99999999999999999999"], "--trials"),
        (["launch", "--workers", "0"], "--workers"),
        (["launch", "--study", ""], "1 to 200 printable"),
        (["launch", "--study", "a\nb"], "1 to 200 printable"),
        (["launch", "--storage", "sqlite://host/x.db"], "three slashes"),
        (["launch", "--storage", f"sqlite:///{'x' * 300}.db"], "does not name a file"),
        (["launch", "--storage", "postgresql://ann:s3cret@localhost:abc/x"], "not a URL"),
        (["launch", "--sampler", "magic"], "`sampler`"),
        (["launch", "--sampler", "no.such:Sampler"], "`sampler` no.such:Sampler: ModuleNotFoundError"),
        (["launch", "--from", "elsewhere"], "there is no"),
        (["launch", "--until-epochs", "-1"], "--until-epochs"),
        (["launch", "--device", "gpu"], "`device` must be"),
        (["launch", "--data", "none.npz"], "cannot read none.npz"),
        (["launch", "--data", "/dev/zero", "--label", "y"], "a device, a pipe or a socket"),
        (["launch", "--label", "y"], "`--label y` names a column of the CSV file given with `--data`"),
        (["launch", "--trainer", "x"], "'--trainer': 'x' is not one of 'auto', 'array', 'solo'"),
        (["launch", "--fix", "batch_size=8"], "`batch_size` is for data of your own"),
        (["launch", "--frobnicate"], "--frobnicate"),
        (["launch", "--storage", "mysql://ann:s3cret@h/d"], "no support for 'mysql'"),
        (["launch", "--storage", "sqlite:////none/x.db"], "no directory /none"),
        (["launch", "--storage", "sqlite:////proc/x.db"], "/proc/x.db"),
        (["train", "--preset", "question", "--set", "width=3"], "exclude each other"),
        (["train", "--preset", "quest"], "unknown preset 'quest'"),
        (["train", "--set", "lr=nan"], "`lr` must be a number"),
        (["train", "--data", "own.npz"], "`--data` needs"),
        (["train", "--label", "y"], "`--label` needs"),
        (["train", "--label", "y", "--preset", "answer"], "`--label y` names a column"),
        ([*TRAIN, "batch_size=8"], "`batch_size` is for data of your own"),
        (["train", "--set", "width=3"], "lacks `activation`"),
        (["train", "--config", "none.json"], "cannot read none.json"),
        ([*TRAIN, "--save", "none/w.pt"], "cannot write none/w.pt"),
        (["train"], "there is no fewest.db"),
        (["best"], "there is no fewest.db"),
        (["best", "--format", "xml"], "'--format': 'xml' is not one of 'table', 'json', 'csv'"),
        (["status"], "there is no fewest.db"),
        (["trials", "--limit", "0"], "--limit"),
        (["stop"], "there is no fewest.db"),
        (["worker"], "there is no fewest.db"),
        (["report"], "there is no fewest.db"),
        (["report", "--out", "none/r.html"], "cannot write none/r.html"),
        (["find"], "find"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    arguments: list[str], said: str, fewest: Fewest, tmp_path: Path
) -> None:
    """Exit status 2, one line on stderr that says what is wrong, nothing on stdout, no file made."""
    done = fewest(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ") and said in done.stderr
    assert "s3cret" not in done.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_cuda_where_there_is_none_is_refused(fewest: Fewest, tmp_path: Path) -> None:
    """Asking for a GPU that is not there is misuse."""
    for asked in (["launch"], TRAIN):
        done = fewest(*asked, "--device", "cuda:1")
        assert done.returncode == 2 and "no CUDA GPU" in done.stderr and list(tmp_path.iterdir()) == []


def test_the_installed_command_answers_refuses_and_fails(store: Path) -> None:
    """As users start it, with an answer, a mistake and a fault of the store: stdout, stderr and exit status."""
    done = cold(store.parent, "best", "--top", "1", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "") and len(json.loads(done.stdout)) == 1
    for arguments, status in (
        (["best", "--study", "none"], 2),
        (["best", "--storage", "postgresql://127.0.0.1:1/x"], 1),
    ):
        done = cold(store.parent, *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1), done.stderr
        assert done.stderr.startswith("error: ")


def test_an_unknown_study_is_named_with_those_there_are(fewest: Fewest, store: Path) -> None:
    """A misspelt study is misuse: the nearest is named, or if none is near all there are."""
    for asked, said in (("defualt", "did you mean 'default'?"), ("xyz", "it has default")):
        done = fewest("best", "--study", asked)
        assert done.returncode == 2 and f"no study '{asked}'" in done.stderr and said in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_best_of_nothing_says_what_there_is_and_what_to_do(fewest: Fewest, store: Path) -> None:
    """Instead of an empty table; programs get an empty list."""
    done = fewest("best", "--where", "gain=29:29.5")
    counts, hint = done.stdout.splitlines()
    assert done.returncode == 0 and counts == "Of 0 trials 0 converged, 0 missed" and "`fewest trials`" in hint


def test_a_server_that_is_not_there_is_a_failure_without_the_password(fewest: Fewest) -> None:
    """A fault of the store is exit status 1."""
    done = fewest("best", "--storage", "postgresql://ann:s3cret@127.0.0.1:1/x")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr and "127.0.0.1" in done.stderr


def test_weights_replace_no_device(fewest: Fewest, tmp_path: Path) -> None:
    """Saving to what is neither a file nor new is refused, and it stays what it was."""
    os.mkfifo(tmp_path / "pipe")
    done = fewest(*TRAIN, "--save", "pipe")
    assert done.returncode == 2 and "cannot write pipe" in done.stderr and (tmp_path / "pipe").is_fifo()


def test_a_full_disk_is_one_line_and_leaves_no_half_of_a_file(fewest: Fewest, tmp_path: Path) -> None:
    """Weights are written whole or not at all."""
    (tmp_path / "w.pt.part").symlink_to("/dev/full")
    done = fewest(*TRAIN, "--classes", "8", "--save", "w.pt")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1) and "w.pt" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_train_reports_one_object(fewest: Fewest, tmp_path: Path) -> None:
    """One configuration gives one JSON object, the same for the same seed, of a file as of settings."""
    first = json.loads(fewest(*TRAIN, "--classes", "8", "--format", "json").stdout)
    assert {"converged", "epochs", "accuracy", "loss", "seconds", "reached", "end", "params"} <= first.keys()
    (tmp_path / "c.json").write_text(json.dumps(first["params"]))
    second = json.loads(fewest("train", "--config", "c.json", "--format", "json").stdout)
    assert {**second, "seconds": 0} == {**first, "seconds": 0}
    (tmp_path / "record.json").write_text(json.dumps(first))
    assert json.loads(fewest("train", "--config", "record.json", "--format", "json").stdout)["loss"] == first["loss"]
    other = json.loads(fewest(*TRAIN, "--classes", "8", "--seed", "2", "--format", "json").stdout)
    assert other["loss"] != first["loss"]


def test_optuna_dashboard_shows_the_study(store: Path) -> None:
    """The dashboard's own server, on the same file, lists the study and every trial with parameters and value."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        Path(FEWEST).parent / "optuna-dashboard",
        f"sqlite:///{store}",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            base = f"http://127.0.0.1:{port}/api/studies"
            (summary,) = fetched(base)["study_summaries"]
            trials = fetched(f"{base}/{summary['study_id']}")["trials"]
        finally:
            server.terminate()
    assert summary["study_name"] == "default" and len(trials) == 30
    assert all(trial["state"] == "Complete" and trial["values"] and trial["params"] for trial in trials)


def fetched(address: str) -> dict[str, Any]:
    """The JSON at an address, once its server is up; half a minute at most."""
    until = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address) as response:
                return dict(json.load(response))
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def test_plain_sqlite_readers_are_not_locked_out(store: Path) -> None:
    """The file is an ordinary SQLite database in WAL mode with Optuna's tables."""
    connection = sqlite3.connect(store)
    assert connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone() == (30,)
    connection.close()


@pytest.mark.parametrize(
    "of", [[], ["launch"], ["worker"], ["train"], ["status"], ["best"], ["trials"], ["confirm"], ["report"], ["stop"]]
)
def test_help_teaches(of: list[str], fewest: Fewest) -> None:
    """Every command explains itself; those with options worth it give examples."""
    done = fewest(*of, "--help")
    assert done.returncode == 0 and "Usage: fewest" in done.stdout
    assert ("Example" in done.stdout) == (of not in ([], ["status"], ["stop"]))
