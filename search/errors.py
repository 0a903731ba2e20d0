"""What ends a command in one line, by whose fault it is. Storage's own errors are in `storage.database`."""


class UsageError(ValueError):
    """An option, a spec or a file of the user's is wrong: which, why, and what it may be. Exit status 2."""


class Conflict(UsageError):
    """What is asked for contradicts what the store has."""


class Failure(Exception):
    """The work cannot be done although it was asked for rightly: what happened, and what to do. Exit status 1."""
