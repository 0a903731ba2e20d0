"""Tables. Ours begin with `fewest_`; Optuna's own are declared as far as we write them, and are created by Optuna.

A *run* is one training that must be done exactly once; its `RunKind` says what for. A run is tried in *attempts*; a
worker holds all its runs by one lease. Times are seconds since 1970 by the database's clock; Optuna's are naive UTC.
"""

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, Double, Index, Integer, LargeBinary, Table, Text, column, table

VERSION = 6
#: `outcome_seq` of a run without an outcome: after every place in the order, so that one range of one index holds both
#: what a reader has not seen and what is unfinished.
PENDING = 2**31 - 1


class RunState(StrEnum):
    """waiting → running → done | failed, and running → waiting when an attempt is lost or released."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class RunKind(StrEnum):
    """What a run is for."""

    TRIAL = "trial"  # a configuration that the search tries; one of a study's budget
    REPLICATE = "replicate"  # a trial's configuration again, on fresh seeds
    REFERENCE = "reference"  # the question's model, which a winner is shown beside
    LADDER = "ladder"  # one seed of a rung of the ladder; only workers that are there for it take it


ours = sa.MetaData()

version = Table("fewest_version", ours, Column("version", Integer, primary_key=True))

studies = Table(
    "fewest_studies",
    ours,
    Column("study_id", Integer, primary_key=True, autoincrement=False),  # Optuna's
    Column("name", Text, nullable=False, unique=True),  # Optuna's; a study deleted there is none of ours any more
    Column("spec", Text, nullable=False),  # JSON
    Column("budget", Integer, nullable=False),  # trials that may ever be created
    Column("reserved", Integer, nullable=False),  # trials created so far
    Column("outcome_seq", Integer, nullable=False),  # outcomes so far: the order that readers follow
    Column("stopping", Boolean, nullable=False),  # workers finish what they run, and leave
    Column("deadline", Double),  # no new trial after it
    Column("until_epochs", Integer),  # no new trial once a configuration of so few epochs is confirmed
    Column("retries", Integer, nullable=False),  # attempts after the first, when workers are lost or fail
    Column("concluded", Integer),  # `outcome_seq` when nothing was left to do; null, or less, while there may be
)

workers = Table(
    "fewest_workers",
    ours,
    Column("worker_id", Integer, primary_key=True),
    Column("name", Text, nullable=False),  # host:process
    Column("device", Text, nullable=False),
    Column("software", Text, nullable=False),  # JSON: versions and commit
    Column("started", Double, nullable=False),
    Column("expires", Double, nullable=False),  # the lease of every run it holds
    Column("machine", Text),  # where `process` can be looked up; null where that is unknown
    Column("process", Integer),
    # What it reported with its last renewal; null before the first.
    Column("slots", Integer),
    Column("occupied", Double),  # slots that trained, on average
    Column("rate", Double),  # trial-epochs per second
    Index("fewest_workers_expires", "expires"),
)

runs = Table(
    "fewest_runs",
    ours,
    Column("run_id", Integer, primary_key=True),
    Column("study_id", Integer, nullable=False),
    Column("name", Text, nullable=False),  # for people, and so that it is added once: 12, 12#3, ladder:256:adam@1000#1
    Column("kind", Text, nullable=False),  # a RunKind
    Column("label", Text),  # of a reference or on the ladder: which model
    Column("trial", Integer),  # number in the study, of a trial and its replicates
    Column("trial_id", Integer),  # Optuna's, of a trial
    Column("replicate", Integer, nullable=False),  # which of several runs of one configuration: 0 of a trial's own
    Column("classes", Integer, nullable=False),
    Column("params", Text, nullable=False),  # JSON
    Column("seed", sa.BigInteger, nullable=False),
    Column("data_seed", sa.BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("worker_id", Integer),  # who tries it, or tried it last
    Column("attempt", Integer, nullable=False),  # attempts begun
    Column("started", Double),  # when the last of them began
    Column("faults", Integer, nullable=False),  # attempts lost to a fault or an expired lease
    Column("reason", Text),  # of the last fault
    Column("outcome_seq", Integer, nullable=False, default=PENDING),  # place in the order of outcomes
    Column("finished", Double),
    Column("cap", Integer),  # most epochs: of replicates and references from the start, of trials in the outcome
    # The outcome, null until there is one.
    Column("end", Text),
    Column("converged", Boolean),
    *(Column(name, Integer) for name in ("epochs", "reached", "stream_offset")),
    *(Column(name, Double) for name in ("gap", "accuracy", "loss", "best_accuracy", "best_loss", "seconds")),
    Column("rungs", Text),  # JSON: shortfall at each rung, null where it ended before
    sa.UniqueConstraint("study_id", "name"),
    Index("fewest_runs_outcome_seq", "study_id", "outcome_seq"),
    Index("fewest_runs_trial", "study_id", "kind", "trial"),
    Index("fewest_runs_best", "study_id", "kind", "state", "converged", "epochs", "trial"),
    Index("fewest_runs_classes", "study_id", "classes", "kind", "state", "converged", "epochs", "trial"),
)

#: Attempts that came to nothing; the one that led to the outcome is in the run.
attempts = Table(
    "fewest_attempts",
    ours,
    Column("run_id", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("worker_id", Integer, nullable=False),
    Column("started", Double, nullable=False),
    Column("ended", Double, nullable=False),
    Column("end", Text, nullable=False),  # released, expired, or the fault
)

curves = Table(
    "fewest_curves",
    ours,
    Column("run_id", Integer, primary_key=True),
    Column("points", LargeBinary, nullable=False),  # see storage.curves
)

#: Data sets that studies search on, by what is in them.
data = Table(
    "fewest_data",
    ours,
    Column("digest", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),  # see objectives.data.samples
)

optuna_studies = table("studies", column("study_id"), column("study_name"))
optuna_directions = table(
    "study_directions",
    *map(column, ("study_id", "objective")),
    column("direction", sa.Enum("NOT_SET", "MINIMIZE", "MAXIMIZE", name="studydirection")),
)
optuna_trials = table(
    "trials",
    *map(column, ("trial_id", "number", "study_id")),
    column("state", sa.Enum("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING", name="trialstate")),
    column("datetime_start", sa.DateTime),
    column("datetime_complete", sa.DateTime),
)
#: `param_value` is Optuna's internal representation.
optuna_params = table("trial_params", *map(column, ("trial_id", "param_name", "param_value", "distribution_json")))
optuna_values = table(
    "trial_values",
    *map(column, ("trial_id", "objective", "value")),
    column("value_type", sa.Enum("FINITE", "INF_POS", "INF_NEG", name="trialvaluetype")),
)
optuna_user_attributes = table("trial_user_attributes", *map(column, ("trial_id", "key", "value_json")))
