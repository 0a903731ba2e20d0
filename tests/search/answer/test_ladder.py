"""The ladder: the right rungs, runs that disturb no search and are asked for once, verdicts that follow the test."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from objectives.configuration import Configuration
from search.answer.ladder import ladder
from search.answer.ladder.ladder import OPTIMIZERS, rungs
from search.answer.ladder.verdicts import Claim, Measured, claims
from search.ask.purpose import Purpose
from search.ask.study import new_run
from search.query import ranking
from search.query import runs as query
from search.spec import parsing as options
from search.spec import stored_study
from search.spec.space import preset
from search.spec.stored_study import StoredStudy
from search.spec.study_spec import DataRef, StudySpec
from search.train.worker import Worker
from storage import ledger, studies
from storage.schema import RunKind
from storage.schema import runs as table
from storage.store import Store
from tests.support import records
from tests.support.command import FEWEST, Fewest
from tests.support.forkserver import Process

OF_LADDER = table.c.kind == RunKind.LADDER


def made(store: Store, budget: int = 0, **fields: Any) -> StoredStudy:
    """A study of 8 classes whose runs take milliseconds, in a part of the space where something converges."""
    searched = options.dimensions([], ["gain=30:300", "lr=1e-3:1"], ["activation=sine,gaussian"])
    few = {"classes": options.class_counts("8"), "space": searched, "inputs": 16, "max_epochs": 30}
    spec = StudySpec.of(**few | fields)
    return store.write(stored_study.create, "s", spec, budget)


def climb(store: Store, record: StoredStudy, counts: list[int], seeds: int, cap: int) -> list[int]:
    """A ladder to its end, by one worker; how many runs were due at each time."""
    times = []
    while new := store.read(ladder.due, record, counts, seeds, cap):
        times.append(len(new))
        store.write(ledger.replace_waiting, record.study_id, RunKind.LADDER, new)
        Worker(store, record, "cpu", purpose=Purpose.LADDER).work()
    return times


def measured(*outcomes: int | float, target: float = 0.99) -> Measured:
    """Runs with a cap of 1,000: whole numbers are epochs, others best accuracies of misses."""
    done = [
        records.trial(converged=True, epochs=found, best_accuracy=1.0, loss=0.1)
        if isinstance(found, int)
        else records.trial(converged=False, epochs=1000, best_accuracy=found, loss=2.5)
        for found in outcomes
    ]
    return Measured(done, 1000, target)


def test_each_advice_changes_one_thing_and_together_they_add_up() -> None:
    """Alone: all optimizers of Keras but the question's own, then four changes. Together: one more each time."""
    found = {rung.name: rung for rung in rungs(256, "adam")}
    question = preset("question", 256).params
    changed = {
        name: {key for key in {*question, *rung.params} if question.get(key) != rung.params.get(key)}
        for name, rung in found.items()
    }
    alone = [rung.name for rung in found.values() if rung.kind == "alone"]
    assert alone == [*(n for n in OPTIMIZERS if n != "rmsprop"), "normalised", "units", "gaussian", "sampled"]
    assert all(changed[name] <= {"optimizer", "lr"} for name in alone[:6])
    assert changed["units"] == {"hidden_layers", "width", "width_2"} and found["units"].params["width"] == 2048
    assert [changed[name] for name in ("normalised", "gaussian", "sampled")] == [
        {"scaling"},
        {"activation"},
        {"batch_sampling"},
    ]
    together = [rung for rung in found.values() if rung.kind == "together"]
    assert [len(rung.name.split("+")) for rung in together] == [2, 3, 4, 5]
    assert changed[together[-1].name] == {"optimizer"}.union(*(changed[name] for name in alone[6:]))
    assert together[1].params == found["answer"].params  # which is why the answer's optimizer is Adam
    for rung in found.values():
        Configuration.of(rung.params)


def test_no_configuration_is_run_twice_for_the_questions_own_optimizer() -> None:
    """If RMSprop stays the best, the advice together begins with two changes that are not measured alone."""
    found = [rung for rung in rungs(64, "rmsprop") if rung.kind != "model"]
    assert len({json.dumps(rung.params) for rung in found}) == len(found) == 10 + 3


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ((0.6, 0.62, 0.7), "helps, not enough: 0.620 instead of 0.070"),
        ((240, 250, 230), "enough by itself: 240 epochs on 3 of 3 seeds"),
        ((240, 250, 0.5), "helps, not enough: 240 epochs on 2 of 3 seeds instead of 0.070"),
        ((0.01, 0.02, 0.03), "hurts: 0.020 instead of 0.070"),
        ((0.06, 0.07, 0.09), "does not clearly help: 0.070 instead of 0.070"),
        ((0.05, 0.065, 0.09), "does not help: 0.065 instead of 0.070"),
        ((1.0, 1.0, 1.0), "helps, not enough: 1.000 but not held instead of 0.070"),
        ((0.9, 0.9), "2 seeds cannot tell: 0.900 instead of 0.070"),
        ((0.9,), "1 seed cannot tell: 0.900 instead of 0.070"),
    ],
)
def test_a_verdict_follows_the_exact_test(outcomes: tuple[int | float, ...], said: str) -> None:
    """Against a question that is stuck: three against three are told apart if nothing overlaps, two never."""
    question = measured(0.06, 0.07, 0.08)
    if len(outcomes) == 2:
        question = measured(0.07, 0.07)
    assert measured(*outcomes).beside(question, by_itself=True) == said


def test_a_verdict_where_the_question_is_learned() -> None:
    """Fewer epochs help, more hurt, and there is nothing for which they would be enough."""
    question = measured(100, 110, 120)
    assert measured(10, 11, 12).beside(question, by_itself=False).startswith("helps: 11 epochs on 3 of 3 seeds")
    assert measured(200, 210, 220).beside(question, by_itself=False).startswith("hurts: 210 epochs")
    assert measured(100, 110, 120).beside(question, by_itself=False).startswith("does not help")
    assert question.alone == "learned: 110 epochs on 3 of 3 seeds"
    assert measured(0.07).alone == "not learned: accuracy 0.070, loss 2.50 after 1000 epochs"
    assert measured(100, 0.07).alone == "not always learned: 100 epochs on 1 of 2 seeds"


def test_a_ladder_is_climbed_once_and_grows_by_what_is_asked_for(sqlite: Store) -> None:
    """What is together waits for the optimizers; the same again is nothing, one seed more is one run of each rung."""
    record = made(sqlite)
    first, second = climb(sqlite, record, [8, 16], 1, 30)
    found = sqlite.read(ladder.rung_records, record)
    assert first == 2 * 12 and second == sum(row.kind == "together" for row in found)
    assert [row.classes for row in found] == [8] * (len(found) // 2) + [16] * (len(found) // 2)
    assert climb(sqlite, record, [8, 16], 1, 30) == []
    assert climb(sqlite, record, [8], 2, 30)[0] >= 12
    again = sqlite.read(ladder.rung_records, record)
    assert {(row.classes, row.seeds) for row in again} == {(8, 2), (16, 1)}
    done = sqlite.read(query.recorded, record, OF_LADDER)
    assert len({row.seed for row in done}) == len(done) and {row.attempts for row in done} == {1}
    assert {row.trial for row in done} == {None} and min(row.replicate for row in done) == 1


def test_ladders_of_several_caps_are_not_mixed(sqlite: Store) -> None:
    """Each answer is of one cap: the one asked for, else the one with most outcomes."""
    record = made(sqlite)
    climb(sqlite, record, [8], 2, 20)
    climb(sqlite, record, [8], 1, 30)
    for cap, seeds in ((None, 2), (20, 2), (30, 1)):
        found = sqlite.read(ladder.rung_records, record, cap)
        assert {(row.cap, row.seeds) for row in found} == {(cap or 20, seeds)}
        assert all(max(row.epochs, default=0) <= row.cap for row in found)
    assert sqlite.read(ladder.rung_records, record, 10) == []


def test_a_search_and_a_ladder_leave_each_others_runs_alone(sqlite: Store) -> None:
    """A search ends while a ladder waits, and the other way round; neither shows in the other's answers."""
    record = made(sqlite, 20)
    new = sqlite.read(ladder.due, record, [8], 1, 30)
    sqlite.write(ledger.replace_waiting, record.study_id, RunKind.LADDER, new)
    Worker(sqlite, record, "cpu", purpose=Purpose.CONFIRM).work()
    assert sqlite.read(query.status, record).ladder_left == len(new)
    Worker(sqlite, record, "cpu").work()
    before, best = sqlite.read(query.status, record), sqlite.read(ranking.best, record)
    reference = sqlite.read(query.reference, record)
    assert (before.done, before.confirming, before.ladder_left) == (20, 0, len(new)) and best and reference
    Worker(sqlite, record, "cpu", purpose=Purpose.LADDER).work()
    assert sqlite.read(query.status, record) == replace(before, ladder_left=0, outcomes=before.outcomes + len(new))
    assert sqlite.read(ranking.best, record) == best and sqlite.read(query.reference, record) == reference
    assert len(sqlite.read(query.trials, record)) == 20


def test_a_ladder_withdraws_what_waits_of_another(sqlite: Store) -> None:
    """Who asks for other runs after an interruption does not get the earlier ones trained as well."""
    record = made(sqlite)
    old, new = (sqlite.read(ladder.due, record, [classes], 1, 30) for classes in (16, 8))
    spare = new_run(record.spec, RunKind.REFERENCE, "question@8", new[0].params, 30, label="question")
    sqlite.write(ledger.add, record.study_id, [spare])
    for runs in (old, new, new):
        sqlite.write(ledger.replace_waiting, record.study_id, RunKind.LADDER, runs)
    waiting = sqlite.read(query.recorded, record)
    assert {row.name for row in waiting} == {spare.name, *(run.name for run in new)}


def test_the_winner_is_the_last_rung_and_is_carried_to_other_counts(sqlite: Store) -> None:
    """The study's best as it is at its own class count, and fitted to one that was not searched."""
    record = made(sqlite, 25)
    Worker(sqlite, record, "cpu").work()
    (best,) = sqlite.read(ranking.best, record, top=1)
    climb(sqlite, record, [8, 16], 1, 30)
    own, carried = (row for row in sqlite.read(ladder.rung_records, record) if row.kind == "winner")
    assert own.rung == carried.rung == f"winner-{best.trial}"
    assert own.params == best.params and own.about.startswith(f"trial {best.trial}: ")
    assert carried.classes == carried.params["classes"] == 16 and "carried over" in carried.about
    assert claims([own]) == [Claim(8, "The winner of the search", own.verdict)]


def test_a_claim_is_judged_by_the_best_of_its_rungs() -> None:
    """Of six optimizers the one that came farthest speaks for all."""
    tried = [
        records.rung(rung=name, kind="alone", seeds=3, converged=k, epochs=epochs, accuracy=reached, verdict=name)
        for name, k, epochs, reached in (
            ("sgd", 0, [], 0.9),
            ("adam", 2, [9, 12], 1.0),
            ("nadam", 2, [10, 11], 1.0),
            ("units", 0, [], 0.1),
        )
    ]
    assert claims(tried) == [
        Claim(8, "1. Try other optimizers", "adam, the best of 3: adam"),
        Claim(8, "3. More units, in one hidden layer", "units"),
    ]


def test_the_command_makes_a_study_that_a_search_goes_on_with(fewest: Fewest, sqlite: Store) -> None:
    """A table and notices of a new study without trials; a budget that is raised later is searched as ever."""
    done = fewest("ladder", "--classes", "8,9", "--seeds", "1", "--max-epochs", "3", "--storage", "sqlite:///store.db")
    assert done.returncode == 0 and "question" in done.stdout and "The page's claims, for 9 classes" in done.stdout
    assert "`fewest launch --classes 8` begins its search" in done.stderr and "no winner yet" in done.stderr
    record = sqlite.read(stored_study.find, "default")
    assert record.budget == 0 and len(sqlite.read(ladder.rung_records, record)) in range(30, 33)
    sqlite.write(studies.reopen, record.study_id, 3)
    Worker(sqlite, sqlite.read(stored_study.find, "default"), "cpu").work()
    state = sqlite.read(query.status, record)
    assert (state.budget, state.done, state.ladder_left) == (3, 3, 0)


def test_ctrl_c_loses_nothing_and_the_rest_is_done_later(sqlite: Store, tmp_path: Path) -> None:
    """SIGINT in the middle: exit 130, nothing left running; then only what is missing is trained."""
    record = made(sqlite, inputs=225)
    command = [FEWEST, "ladder", "--study", "s", "--classes", "128", "--seeds", "1", "--max-epochs", "80"]
    environment = os.environ | {"FEWEST_STORAGE": f"sqlite:///{tmp_path}/store.db"}
    process = Process(
        [*command, "--workers", "1"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not sqlite.read(ladder.rung_records, record) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "nothing is lost" in err
    state, found = sqlite.read(query.status, record), sqlite.read(ladder.rung_records, record)
    assert 0 < state.ladder_left == 12 - len(found) and state.workers == 0
    assert climb(sqlite, record, [128], 1, 80)[0] == 12 - len(found)
    assert {row.attempts for row in sqlite.read(query.recorded, record, OF_LADDER)} == {1}


def test_the_ladder_refuses_data_of_ones_own(sqlite: Store, fewest: Fewest) -> None:
    """The page's advice is about waves."""
    own = DataRef(name="own.npz", digest="d", samples=40, features=3, classes=2, training=32)
    sqlite.write(studies.create, "own", StudySpec.of(data=own).model_dump_json(), 0, ["MINIMIZE"])
    refused = fewest("ladder", "--study", "own", "--storage", "sqlite:///store.db")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1 and "own.npz" in refused.stderr
