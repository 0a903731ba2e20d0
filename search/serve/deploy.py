"""Files that run the service and its workers elsewhere, from the templates beside this module.

Every target runs the same worker, which finishes what it trains within the grace that its scheduler leaves it. The
store's URL, which holds a password, comes from FEWEST_STORAGE alone: a command line is seen by everybody on a machine.
"""

import json
import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from search import files, templates
from search.errors import UsageError
from search.train.processes import GRACE_SECONDS

WORKER = f"fewest worker --grace {GRACE_SECONDS:.0f} --log json"
_SPARE_CONNECTIONS = 50  # of the service, and of people who ask the database


class Target(StrEnum):
    """What runs the workers."""

    SLURM = "slurm"
    KUBERNETES = "kubernetes"
    SYSTEMD = "systemd"
    COMPOSE = "compose"


_FILES = {
    Target.SLURM: ("fewest.sbatch",),
    Target.KUBERNETES: ("Dockerfile", "secret.yaml", "service.yaml", "workers.yaml"),
    Target.SYSTEMD: ("fewest.env", "fewest-serve.service", "fewest-worker@.service"),
    Target.COMPOSE: ("Dockerfile", "compose.yaml"),
}
_SECRET = frozenset({"secret.yaml", "fewest.env"})  # their placeholders become passwords


@dataclass(frozen=True)
class Deployment:
    """What to run, and where."""

    target: Target
    workers: int = 4
    #: Of each worker.
    gpus: int = 0
    #: Name and tag of the image, for targets of containers.
    image: str | None = None

    def __post_init__(self) -> None:
        if self.image is not None and "Dockerfile" not in _FILES[self.target]:
            raise UsageError(f"`--image` is for kubernetes and compose; {self.target} runs no containers")
        if self.image is not None and not re.fullmatch(r"[a-z0-9][\w.:/@-]*", self.image, re.ASCII):
            raise UsageError(f"`--image {files.shown(self.image)}` names no image; one is like example.org/fewest:1.0")


def rendered(deployment: Deployment, out: Path | None = None) -> dict[str, str]:
    """The files by name, as they say how to use them from `out`."""
    environment, version = templates.environment("search.serve"), metadata.version("fewest")
    values = vars(deployment) | {
        "image": deployment.image or f"fewest:{version}",
        "version": version,
        # `auto` would take a GPU that nobody asked for, and without the one asked for it would be slow in silence.
        "worker": f"{WORKER} --device {'cuda' if deployment.gpus else 'cpu'}",
        "connections": 2 * deployment.workers + _SPARE_CONNECTIONS,
        "words": _words,
        "dockerfile": shlex.quote(files.shown(str((out or Path()) / "Dockerfile"), most=1000)),
    }
    return {name: environment.get_template(name).render(values) for name in _FILES[deployment.target]}


def write(rendered: dict[str, str], out: Path) -> None:
    """Write the files into a directory, which is made; UsageError if one is there already, perhaps filled in."""
    existing = [name for name in rendered if (out / name).exists()]
    if existing:
        raise UsageError(f"{out / existing[0]} is there already; name another directory with `--out`, or delete it")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the directory {files.shown(str(out))}: {error.strerror or error}") from None
    for name, text in rendered.items():
        files.write(out / name, text.encode(), 0o600 if name in _SECRET else 0o666)


def _words(command: str) -> str:
    """The arguments of a command of ours as a list of YAML; the image's entry point is `fewest` itself."""
    return json.dumps(command.removeprefix("fewest ").split())
