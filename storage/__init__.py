"""Where studies live: one SQLite file or one Postgres database, with Optuna's tables and ours side by side."""
