"""What is logged, as programs and people read it."""

import json
import subprocess
import sys
from datetime import UTC, datetime

SCRIPT = """
import logging, sys, warnings
from search import logs
logs.set_up(logs.Log(sys.argv[1]), worker="here:1", study=None)
log = logging.getLogger("fewest")
log.debug("too low")
with logs.about(study="s"):
    log.info("%s ends", "0", extra={"trial": "0", "attempt": 2, "worker": "there:2"})
log.warning("two\\nlines \u00d7", extra={"caller": "token ann", "request": "ab"})
warnings.warn("of a library")
1 / 0
"""


def logged(form: str) -> list[str]:
    """Lines on stderr of a process that logs in that form, warns and fails."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, form], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    return done.stderr.splitlines()


def test_each_line_is_a_json_object_with_what_it_is_about() -> None:
    """What the process is about, what a part of it is, and what the line itself is, which goes before."""
    ended, warned, library, fault = (json.loads(line) for line in logged("json"))
    for line in (ended, warned, library, fault):
        time = datetime.fromisoformat(line.pop("time"))
        assert abs((datetime.now(UTC) - time).total_seconds()) < 60 and time.microsecond % 1000 == 0
    assert ended == {
        "level": "info",
        "message": "0 ends",
        "study": "s",
        "trial": "0",
        "attempt": 2,
        "worker": "there:2",
    }
    about = {"caller": "token ann", "request": "ab", "worker": "here:1"}
    assert warned == {"level": "warning", "message": "two\nlines \u00d7"} | about
    assert library["level"] == "warning" and "of a library" in library["message"] and library["worker"] == "here:1"
    assert (fault["level"], fault["message"], fault["worker"]) == ("critical", "uncaught", "here:1")
    assert fault["exception"].startswith("Traceback") and fault["exception"].endswith("division by zero")


def test_people_read_the_message_alone() -> None:
    """After its level if it tells of something wrong."""
    assert logged("text")[:3] == ["0 ends", "warning: two", "lines \u00d7"]


INTERRUPTED = """
import sqlalchemy as sa
from search import logs
logs.set_up(logs.Log.TEXT)
engine = sa.create_engine("sqlite://")

@sa.event.listens_for(engine, "reset")
def leave(*_):
    raise SystemExit(7)

with engine.connect() as connection:
    connection.execute(sa.select(1))
"""


def test_a_process_that_leaves_while_a_connection_is_given_back_says_nothing_of_it() -> None:
    """As a worker does at its second signal: its library would log a traceback."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
