"""Whatever happens in whatever order, the ledger keeps its promises."""

import itertools
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from optuna.distributions import FloatDistribution, distribution_to_json

from storage import leases, ledger, schema, studies
from storage.curves import pack
from storage.ledger import NewTrial, Run
from storage.schema import PENDING, RunKind, RunState, attempts, curves, runs, workers
from storage.store import Store
from tests.storage.test_ledger import replicate

PARAMS = {"classes": 8, "lr": 0.5}
TRIAL = NewTrial(PARAMS, 1, 7, {"lr": (0.5, distribution_to_json(FloatDistribution(0, 1)))})
CURVE = pack([0], [1.0], [0.1])
BUDGET = 4
names = itertools.count()
someone = st.integers(0, 2)  # one of three workers


class Studies(RuleBasedStateMachine):
    """Three workers ask, tell, renew, are late, die and come back; people stop and reopen the study."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.study = self.store.write(studies.create, f"s{next(names)}", "{}", BUDGET, ["MINIMIZE"]).study_id
        self.budget = BUDGET
        self.workers = [self.register() for _ in range(3)]
        self.held: list[dict[int, Run]] = [{} for _ in self.workers]
        self.late: list[Run] = []  # held by workers that died
        self.finished: dict[int, Any] = {}
        self.replicates, self.retries, self.stopped = 0, studies.RETRIES, False

    def register(self) -> int:
        """A new worker."""
        return self.store.write(leases.register, "w", "cpu", {})

    def got(self, who: int, run: Run | None) -> None:
        """A worker was given a run."""
        if run:
            assert run.run_id not in self.held[who] and run.run_id not in self.finished
            self.held[who][run.run_id] = run

    def tell(self, run: Run) -> bool:
        """Tell a converged outcome."""
        outcome = {"end": "converged", "converged": True, "epochs": run.attempt, "cap": 9, "gap": 0.0}
        stands = self.store.write(ledger.finish, run, outcome, [1.0], CURVE, {"epochs": 1})
        found = sa.select(runs).where(runs.c.run_id == run.run_id)
        now = self.store.read(lambda connection: connection.execute(found).one())
        assert stands == ((now.state, now.attempt) == (RunState.DONE, run.attempt))
        return stands

    @rule(who=someone, judge=st.booleans(), unheard=st.booleans())
    def ask(self, who: int, judge: bool, unheard: bool) -> None:
        """A worker asks for a run; if the answer is lost after the commit it asks again, in either way."""
        run = self.take(who, judge) or self.create(who)
        if unheard and run:
            assert self.take(who, judge) == run and self.create(who) == run
        self.got(who, run)

    @rule(who=someone)
    def ask_for_new(self, who: int) -> None:
        """A worker that saw nothing waiting asks for a new trial, and the answer may be lost."""
        run = self.create(who)
        assert run is None or self.create(who) == run
        self.got(who, run)

    def take(self, who: int, judge: bool) -> Run | None:
        """What waits."""
        run = self.store.write(
            ledger.take, self.study, self.workers[who], self.held[who], kinds=set(RunKind), judge=judge
        )
        assert run is None or not self.stopped
        return run

    def create(self, who: int) -> Run | None:
        """A new trial."""
        return self.store.write(ledger.create, self.study, self.workers[who], self.held[who], lambda _: TRIAL)

    @rule(who=someone, twice=st.booleans())
    def finish(self, who: int, twice: bool) -> None:
        """A worker tells its oldest run, perhaps again because the answer was lost."""
        if self.held[who]:
            run = self.held[who].pop(min(self.held[who]))
            stands = self.tell(run)
            assert not twice or self.tell(run) == stands

    @rule()
    def finish_late(self) -> None:
        """A worker that was thought dead tells what it held."""
        if self.late:
            self.tell(self.late.pop(0))

    @rule(who=someone)
    def fault(self, who: int) -> None:
        """A device fails."""
        if self.held[who]:
            self.store.write(ledger.fault, self.held[who].pop(min(self.held[who])), "cable cut")

    @rule(who=someone)
    def expire(self, who: int) -> None:
        """The clock goes past a lease."""
        mine = workers.c.worker_id == self.workers[who]
        self.store.write(sa.Connection.execute, sa.update(workers).where(mine).values(expires=0))

    @rule(who=someone)
    def renew(self, who: int) -> None:
        """A worker renews its lease."""
        self.store.write(leases.renew, self.workers[who])

    @rule(who=someone)
    def crash(self, who: int) -> None:
        """A worker dies, and another one takes its place."""
        self.expire(who)
        self.late += self.held[who].values()
        self.workers[who], self.held[who] = self.register(), {}

    @rule(who=someone)
    def retire(self, who: int) -> None:
        """A worker leaves, and another one takes its place."""
        self.store.write(leases.retire, self.workers[who])
        self.late += self.held[who].values()
        self.workers[who], self.held[who] = self.register(), {}

    @rule()
    def stop(self) -> None:
        """Somebody stops the study."""
        self.store.write(studies.stop, self.study)
        self.stopped = True

    @rule(budget=st.integers(1, 8), retries=st.integers(0, 3))
    def reopen(self, budget: int, retries: int) -> None:
        """Somebody launches it again, with another budget."""
        self.store.write(studies.reopen, self.study, budget, None, retries)
        self.budget = max(budget, self.store.read(self.count))
        self.stopped, self.retries = False, max(retries, self.retries)

    @rule()
    def add(self) -> None:
        """A replicate is due."""
        self.replicates += 1
        self.store.write(ledger.add, self.study, [replicate(self.replicates)] * 2)

    def count(self, connection: sa.Connection) -> int:
        """Trials of the study."""
        return len(connection.execute(sa.select(runs.c.trial).where(self.mine, runs.c.kind == RunKind.TRIAL)).all())

    @property
    def mine(self) -> sa.ColumnElement[bool]:
        """The study's runs."""
        return runs.c.study_id == self.study

    @invariant()
    def promises_are_kept(self) -> None:
        """The budget holds, slots and outcomes are neither lost nor doubled, and what is finished stays so."""
        self.store.read(self.check)

    def check(self, connection: sa.Connection) -> None:
        """All of it, in one transaction."""
        state = connection.execute(sa.select(schema.studies).where(schema.studies.c.study_id == self.study)).one()
        found = connection.execute(sa.select(runs).where(self.mine)).all()
        trials = sorted(run.trial for run in found if run.kind == RunKind.TRIAL)
        assert trials == list(range(state.reserved)) and state.reserved <= state.budget == self.budget
        over = {run.run_id: run for run in found if run.outcome_seq != PENDING}
        assert sorted(run.outcome_seq for run in over.values()) == list(range(1, state.outcome_seq + 1))
        assert all((run.outcome_seq != PENDING) == (run.state in (RunState.DONE, RunState.FAILED)) for run in found)
        for run_id, before in self.finished.items():
            assert over[run_id] == before
        self.finished = over
        ids = [run.run_id for run in found]
        lost = connection.execute(sa.select(attempts).where(attempts.c.run_id.in_(ids))).all()
        for run in found:
            going = run.state in (RunState.DONE, RunState.RUNNING)
            assert run.attempt == sum(attempt.run_id == run.run_id for attempt in lost) + going
            assert run.faults <= self.retries + 1
            assert run.faults == sum(a.run_id == run.run_id and a.end != "released" for a in lost)
        kept = connection.scalars(sa.select(curves.c.run_id).where(curves.c.run_id.in_(ids))).all()
        assert sorted(kept) == sorted(run.run_id for run in found if run.state == RunState.DONE)
        table = schema.optuna_trials
        optuna = connection.execute(sa.select(table).where(table.c.study_id == self.study)).all()
        shown = {RunState.DONE: "COMPLETE", RunState.FAILED: "FAIL"}
        assert {trial.number: trial.state for trial in optuna} == {
            run.trial: shown.get(run.state, "RUNNING") for run in found if run.kind == RunKind.TRIAL
        }

    def teardown(self) -> None:
        """From any state, one patient worker brings the study to its end: no slot was lost."""
        self.reopen(self.budget, 3)
        for who in range(3):
            self.crash(who)
        while run := self.take(0, True) or self.create(0):
            assert self.tell(run)
        delta = self.store.read(ledger.poll, self.study, 0)
        assert not delta.unfinished and self.store.read(self.count) == self.budget


@pytest.mark.parametrize(("url", "examples"), [("sqlite", 100), ("postgres", 40)], indirect=["url"])
def test_promises_are_kept_in_any_order_of_events(store: Store, examples: int) -> None:
    """Finished runs stay finished, the budget is never exceeded, a reserved slot is never lost."""
    machine = type("TheseStudies", (Studies,), {"store": store})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(max_examples=examples, stateful_step_count=30, suppress_health_check=list(HealthCheck)),
    )
