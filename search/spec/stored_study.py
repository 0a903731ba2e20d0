"""StoredStudy: a study of a store, opened once with its spec parsed; what ask, train, query and answer are given."""

import json
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection

from search.errors import UsageError
from search.spec.study_spec import StudySpec, validated
from storage import studies
from storage.studies import StudyRecord


def study_name(name: str) -> str:
    """A study's name; UsageError if none may have it."""
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise UsageError("a study's name is 1 to 200 printable characters")
    return name


def served_name(name: str) -> str:
    """The name of a service's study, which is a part of its path; UsageError if none may have it."""
    if "/" in name or name in (".", ".."):
        raise UsageError("the name of a service's study has no slash and is neither . nor ..")
    return study_name(name)


@dataclass(frozen=True)
class StoredStudy(StudyRecord):
    """A study's record, and its spec."""

    spec: StudySpec

    @classmethod
    def of(cls, record: StudyRecord) -> Self:
        """UsageError if another version made the study and this one cannot serve it."""
        try:
            return cls(**vars(record), spec=validated(json.loads(record.spec_json)))
        except UsageError as error:
            raise UsageError(f"the study was made by another version of fewest and cannot go on: {error}") from None


def find(connection: Connection, name: str) -> StoredStudy:
    """The study of that name, in a read transaction; NotFound names those there are."""
    return StoredStudy.of(studies.find(connection, name))


def create(
    connection: Connection, name: str, spec: StudySpec, budget: int, data: tuple[str, bytes] | None = None
) -> StoredStudy:
    """The study of that name, created unless it exists, as `storage.studies.create`."""
    return StoredStudy.of(studies.create(connection, name, spec.model_dump_json(), budget, spec.directions, data))
