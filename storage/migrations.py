"""Bringing a store of the version before up to date: a list of statements, run in one transaction.

Every statement is one that SQLite and Postgres both understand. A store in which workers of the older version still
hold leases is left alone, since they would write rows of the older kind. Versions 1 to 4 were never released.
"""

import sqlalchemy as sa

from storage import schema
from storage.database import StorageMisuse, now

_BEFORE_LABEL = "length('ladder:' || classes || ':')"  # in ladder:256:adam@1000#1
_AFTER_LABEL = "length('@' || cap || '#' || replicate)"
#: What turns a store of each version into the next one.
STEPS = {
    5: (
        "ALTER TABLE fewest_runs ADD COLUMN kind TEXT NOT NULL DEFAULT 'trial'",
        "ALTER TABLE fewest_runs ADD COLUMN label TEXT",
        "UPDATE fewest_runs SET kind = 'replicate' WHERE trial IS NOT NULL AND replicate > 0",
        "UPDATE fewest_runs SET kind = 'reference', label = 'question' WHERE trial IS NULL AND replicate = 0",
        "UPDATE fewest_runs SET kind = 'ladder', "
        f"label = substr(name, {_BEFORE_LABEL} + 1, length(name) - {_BEFORE_LABEL} - {_AFTER_LABEL}) "
        "WHERE trial IS NULL AND replicate > 0",
        "ALTER TABLE fewest_studies RENAME COLUMN told TO outcome_seq",
        "ALTER TABLE fewest_runs RENAME COLUMN told TO outcome_seq",
        *(f"DROP INDEX fewest_runs_{name}" for name in ("told", "trial", "best", "classes")),
        "CREATE INDEX fewest_runs_outcome_seq ON fewest_runs (study_id, outcome_seq)",
        "CREATE INDEX fewest_runs_trial ON fewest_runs (study_id, kind, trial)",
        "CREATE INDEX fewest_runs_best ON fewest_runs (study_id, kind, state, converged, epochs, trial)",
        "CREATE INDEX fewest_runs_classes ON fewest_runs (study_id, classes, kind, state, converged, epochs, trial)",
    ),
}


def upgrade(connection: sa.Connection) -> None:
    """Bring the store to this version; StorageMisuse if it cannot be, or workers of the older version use it."""
    version = connection.scalar(sa.select(sa.func.max(schema.version.c.version)))
    if version == schema.VERSION:
        return
    if version not in STEPS:
        newer = version > schema.VERSION
        remedy = "update it with `pip install --upgrade fewest`" if newer else "begin a new store"
        knows = f"knows versions {min(STEPS)} to {schema.VERSION}"
        raise StorageMisuse(f"the store has version {version}, and this fewest {knows}; {remedy}")
    if connection.scalar(sa.select(sa.func.count()).where(schema.workers.c.expires > now())):
        raise StorageMisuse(
            f"workers of an older fewest still run in this store of version {version}; "
            "stop them, and the next command upgrades it"
        )
    for step in range(version, schema.VERSION):
        for statement in STEPS[step]:
            connection.exec_driver_sql(statement)
    connection.execute(sa.update(schema.version).values(version=schema.VERSION))
