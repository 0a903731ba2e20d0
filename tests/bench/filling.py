"""Fill a study with trials that were never trained, as fast as the database takes them."""

import json
import random
from datetime import UTC, datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import distribution_to_json

from search import space
from search.scoring import score
from search.spec import StudySpec
from search.stopping import RUNGS
from storage import schema
from storage.curves import pack
from storage.schema import RunState
from storage.studies import StudyRecord

CHUNK = 5_000  # trials per statement
CONVERGED = 0.1  # of all trials


def fill(connection: sa.Connection, record: StudyRecord, size: int, curves: bool = True) -> None:
    """Bring the study to `size` told trials, as a worker would have stored them: one in ten converged."""
    spec = StudySpec.model_validate_json(record.spec)
    studies = schema.studies
    state = sa.select(studies.c.reserved, studies.c.told).where(studies.c.study_id == record.study_id)
    reserved, told = connection.execute(state).one()
    last = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(schema.optuna_trials.c.trial_id), 0)))
    last_run = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(schema.runs.c.run_id), 0)))
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    rng = random.Random(1)
    for first in range(reserved, size, CHUNK):
        rows: dict[sa.Table, list[dict[str, Any]]] = {
            table: []
            for table in (
                schema.optuna_trials,
                schema.optuna_params,
                schema.optuna_values,
                schema.runs,
                schema.attempts,
                schema.curves,
            )
        }
        for number in range(first, min(first + CHUNK, size)):
            told, last, last_run = told + 1, last + 1, last_run + 1
            trial = drawn.ask()
            params = space.suggest(spec.space, trial)
            drawn.tell(trial, state=optuna.trial.TrialState.FAIL)
            hit = rng.random() < CONVERGED
            epochs, gap = rng.randint(2, 100) if hit else rng.choice(RUNGS), 0.0 if hit else rng.random()
            _enter(rows, record.study_id, number, last, last_run, told, params, trial.distributions, hit, epochs, gap)
            value = score(hit, epochs, gap, spec.max_epochs)
            rows[schema.optuna_values].append(
                {"trial_id": last, "objective": 0, "value": value, "value_type": "FINITE"}
            )
        for table, content in rows.items():
            connection.execute(sa.insert(table), content)
    if size > reserved:
        new = {"reserved": size, "told": told}
        connection.execute(sa.update(studies).where(studies.c.study_id == record.study_id).values(new))
        if connection.dialect.name == "postgresql":  # the numbers were given, not drawn
            for table, column in (("trials", "trial_id"), ("fewest_runs", "run_id")):
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}"
                )


def _enter(
    rows: dict[sa.Table, list[dict[str, Any]]],
    study_id: int,
    number: int,
    trial_id: int,
    run_id: int,
    told: int,
    params: dict[str, Any],
    distributions: dict[str, Any],
    hit: bool,
    epochs: int,
    gap: float,
) -> None:
    at = datetime.now(UTC).replace(tzinfo=None)
    rows[schema.optuna_trials].append(
        {
            "trial_id": trial_id,
            "number": number,
            "study_id": study_id,
            "state": "COMPLETE",
            "datetime_start": at,
            "datetime_complete": at,
        }
    )
    rows[schema.optuna_params] += [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distribution.to_internal_repr(params[name]),
            "distribution_json": distribution_to_json(distribution),
        }
        for name, distribution in distributions.items()
    ]
    rows[schema.runs].append(
        {
            "run_id": run_id,
            "study_id": study_id,
            "name": str(number),
            "trial": number,
            "trial_id": trial_id,
            "replicate": 0,
            "classes": params["classes"],
            "params": json.dumps(params),
            "seed": number,
            "data_seed": 1,
            "state": RunState.DONE,
            "worker_id": 1,
            "attempt": 1,
            "faults": 0,
            "told": told,
            "finished": 1.0,
            "cap": 300,
            "end": "converged" if hit else "capped",
            "converged": hit,
            "epochs": epochs,
            "gap": gap,
            "accuracy": 1.0 if hit else 1 - gap,
            "loss": 0.1,
            "best_accuracy": 1.0 if hit else 1 - gap,
            "best_loss": 0.1,
            "reached": epochs if hit else None,
            "seconds": 0.1,
            "stream_offset": 0,
            "rungs": json.dumps([gap if rung <= epochs else (0.0 if hit else None) for rung in RUNGS]),
        }
    )
    rows[schema.attempts].append(
        {"run_id": run_id, "attempt": 1, "worker_id": 1, "started": 0.0, "ended": 1.0, "end": "done"}
    )
    points = pack(range(epochs + 1), [0.5] * (epochs + 1), [1.0] * (epochs + 1))
    rows[schema.curves].append({"run_id": run_id, "points": points})
