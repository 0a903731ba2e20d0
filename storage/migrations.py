"""Bringing a store of an older version up to date: one list of statements per version, run in one transaction.

Every statement is one that SQLite and Postgres both understand. A store in which workers of the older version still
hold leases is left alone, since they would write rows of the older kind.
"""

import sqlalchemy as sa

from storage import schema
from storage.database import StorageMisuse, now

#: What turns a store of each version into the next one.
STEPS = {
    1: (
        "DELETE FROM fewest_studies WHERE study_id NOT IN (SELECT study_id FROM studies)",
        "ALTER TABLE fewest_studies ADD COLUMN name TEXT NOT NULL DEFAULT ''",
        "UPDATE fewest_studies SET name = "
        "(SELECT study_name FROM studies WHERE studies.study_id = fewest_studies.study_id)",
        "CREATE UNIQUE INDEX fewest_studies_name_key ON fewest_studies (name)",
        "ALTER TABLE fewest_studies ADD COLUMN retries INTEGER NOT NULL DEFAULT 2",
        "ALTER TABLE fewest_workers ADD COLUMN machine TEXT",
        "ALTER TABLE fewest_workers ADD COLUMN process INTEGER",
        "CREATE INDEX fewest_workers_expires ON fewest_workers (expires)",
        "ALTER TABLE fewest_runs ADD COLUMN started DOUBLE PRECISION",
        "UPDATE fewest_runs SET started = (SELECT max(started) FROM fewest_attempts "
        "WHERE fewest_attempts.run_id = fewest_runs.run_id)",
        "DELETE FROM fewest_attempts WHERE ended IS NULL OR \"end\" = 'done'",
        f"UPDATE fewest_runs SET told = {schema.PENDING} WHERE told IS NULL",
        "DROP INDEX fewest_attempts_open",
        "DROP INDEX fewest_runs_state",
        "DROP INDEX fewest_runs_best",
        "CREATE INDEX fewest_runs_trial ON fewest_runs (study_id, replicate, trial)",
        "CREATE INDEX fewest_runs_best ON fewest_runs (study_id, replicate, state, converged, epochs, trial)",
        "CREATE INDEX fewest_runs_classes ON fewest_runs "
        "(study_id, classes, replicate, state, converged, epochs, trial)",
    ),
    2: (
        "ALTER TABLE fewest_workers ADD COLUMN slots INTEGER",
        "ALTER TABLE fewest_workers ADD COLUMN occupied DOUBLE PRECISION",
        "ALTER TABLE fewest_workers ADD COLUMN rate DOUBLE PRECISION",
    ),
    3: (
        "ALTER TABLE fewest_studies ADD COLUMN until_epochs INTEGER",
        "UPDATE fewest_runs SET rungs = '[null, ' || substr(rungs, 2) WHERE rungs IS NOT NULL",  # one at 1 epoch
        # SQLite takes any name for a type, and keeps bytes as they are
        "CREATE TABLE fewest_data (digest TEXT NOT NULL PRIMARY KEY, content BYTEA NOT NULL)",
    ),
    4: ("ALTER TABLE fewest_studies ADD COLUMN concluded INTEGER",),
}


def upgrade(connection: sa.Connection) -> None:
    """Bring the store to this version; StorageMisuse if it is newer, or in use by workers of the older version."""
    version = connection.scalar(sa.select(sa.func.max(schema.version.c.version)))
    if version == schema.VERSION:
        return
    if version not in STEPS:
        raise StorageMisuse(
            f"the store has version {version}, and this fewest knows versions up to {schema.VERSION}; "
            "update it with `pip install --upgrade fewest`"
        )
    leases = sa.select(sa.func.count()).where(schema.workers.c.expires > now())
    if connection.scalar(leases):
        raise StorageMisuse(
            f"workers of an older fewest still run in this store of version {version}; "
            "stop them, and the next command upgrades it"
        )
    for step in range(version, schema.VERSION):
        for statement in STEPS[step]:
            connection.exec_driver_sql(statement)
    connection.execute(sa.update(schema.version).values(version=schema.VERSION))
