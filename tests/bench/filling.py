"""Fill a study with trials that were never trained, as fast as the database takes them."""

import json
import random
from datetime import UTC, datetime

import optuna
import sqlalchemy as sa
from optuna.distributions import distribution_to_json

from search.ask.scoring import score
from search.ask.stopping import RUNGS
from search.spec import space
from search.spec.stored_study import StoredStudy
from storage import schema
from storage.curves import pack
from storage.schema import RunKind, RunState, studies

CHUNK = 5_000  # trials per statement
CONVERGED = 0.1  # of all trials


def fill(connection: sa.Connection, record: StoredStudy, size: int) -> None:
    """Bring a study of a store that has no other to `size` told trials, as a worker would have left them."""
    spec, dice = record.spec, random.Random(1)
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    at = {"datetime_start": datetime.now(UTC).replace(tzinfo=None)}
    for first in range(0, size, CHUNK):
        rows: dict[sa.Table, list[dict[str, object]]] = {table: [] for table in TABLES}
        for number in range(first, min(first + CHUNK, size)):
            trial, key = drawn.ask(), number + 1
            params = space.suggest(spec.space, trial)
            drawn.tell(trial, state=optuna.trial.TrialState.FAIL)
            hit = dice.random() < CONVERGED
            epochs, gap = (dice.randint(2, 100), 0.0) if hit else (dice.choice(RUNGS), dice.random())
            own = {"trial_id": key, "number": number, "study_id": record.study_id, "state": "COMPLETE"}
            rows[schema.optuna_trials].append(own | at | {"datetime_complete": at["datetime_start"]})
            for name, distribution in trial.distributions.items():
                value = distribution.to_internal_repr(params[name])
                row = {"trial_id": key, "param_name": name, "param_value": value}
                rows[schema.optuna_params].append(row | {"distribution_json": distribution_to_json(distribution)})
            value = score(hit, epochs, gap, spec.max_epochs)
            rows[schema.optuna_values].append({"trial_id": key, "objective": 0, "value": value, "value_type": "FINITE"})
            identity = {"run_id": key, "study_id": record.study_id, "name": str(number)}
            identity |= {"kind": RunKind.TRIAL, "trial": number, "trial_id": key, "replicate": 0}
            what = {"classes": params["classes"], "params": json.dumps(params)}
            state = {
                "state": RunState.DONE,
                "worker_id": 1,
                "attempt": 1,
                "faults": 0,
                "outcome_seq": key,
                "finished": 1.0,
            }
            seeds = {"seed": number, "data_seed": 1, "cap": 300, "seconds": 0.1, "stream_offset": 0}
            outcome = {"end": "converged" if hit else "capped", "converged": hit, "epochs": epochs, "gap": gap}
            reached = {"accuracy": 1 - gap, "loss": gap, "best_accuracy": 1 - gap, "best_loss": gap}
            rungs = [gap if rung <= epochs else (0.0 if hit else None) for rung in RUNGS]
            rows[schema.runs].append(identity | what | state | seeds | outcome | reached | {"rungs": json.dumps(rungs)})
            points = pack(range(epochs + 1), [0.5] * (epochs + 1), [1.0] * (epochs + 1))
            rows[schema.curves].append({"run_id": key, "points": points})
        for table, content in rows.items():
            connection.execute(sa.insert(table), content)
    this = studies.c.study_id == record.study_id
    connection.execute(sa.update(studies).where(this).values(reserved=size, outcome_seq=size))
    if connection.dialect.name == "postgresql" and size:  # its sequences have not seen these keys
        for table, column in (("trials", "trial_id"), ("fewest_runs", "run_id")):
            connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {size})")


TABLES = (schema.optuna_trials, schema.optuna_params, schema.optuna_values, schema.runs, schema.curves)
