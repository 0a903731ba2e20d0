"""The `fewest` command: reads options and environment once, wires the parts together, prints answers.

Answers go to stdout, progress and errors to stderr. Exit status: 2 misuse, 1 failure, 130 after Ctrl-C.
"""

import io
import logging
import os
import signal
import sys
from typing import Any

import typer

from search.cli import asking, launching, running, serving, training
from search.cli.output import fail
from search.errors import Failure, UsageError
from search.logs import Log, set_up
from storage.database import StorageError, StorageMisuse

_UsageError: Any = typer.BadParameter.__base__  # what typer raises for options it cannot read, not exported by name

app = typer.Typer(
    name="fewest",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, and a storage URL can hold a password
    rich_markup_mode="markdown",
    help="Which configuration makes this network converge in the fewest epochs?\n\n"
    "`fewest launch` searches for it and confirms it; `fewest best` and `fewest trials` ask what was found; "
    "`fewest train` trains one configuration, `fewest replay` a recorded trial again; `fewest export` makes a script "
    "of the winner.",
)
for part in (launching, running, asking, training, serving):
    app.add_typer(part.app)


def main() -> None:
    """Run the command line; every expected failure is one line on stderr and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × still shows the rest
    set_up(Log.TEXT, logging.WARNING)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a script's `&`, and workers would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
    except (UsageError, StorageError, Failure) as error:
        code = fail(str(error), 2 if isinstance(error, UsageError | StorageMisuse) else 1)
    except (KeyboardInterrupt, typer.Abort):
        code = fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:  # of files that a command writes, or of stdout itself
        code = fail(error.strerror or str(error), 1)
    except _UsageError as error:  # without a message when the help was shown instead
        message = error.format_message().replace(" Value error,", "")
        code = fail(message, 2) if message else 2
    sys.exit(code)


if __name__ == "__main__":
    main()
