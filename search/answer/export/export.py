"""Export: what a trial found as a short script without us, run until a seed is known that does as the record says.

A script draws its weights and data with its framework's own generators, so it trains other draws than the trial did.
"""

import importlib.util
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from objectives.configuration import Configuration
from objectives.data.samples import Samples
from search.answer.export.script import Framework, Recipe, quoted, script
from search.answer.wording import epochs
from search.ask.stopping import room
from search.errors import Failure
from search.query.records import RunRecord
from search.spec.study_spec import StudySpec

SEEDS = 10  # tried at most


@dataclass(frozen=True)
class Exported:
    """A script and what belongs to it."""

    text: str
    #: The content of the file beside it, if it needs one.
    data: bytes | None
    #: What came out when it was run.
    message: str


def export(
    study: str,
    spec: StudySpec,
    samples: Samples | None,  # of a data set
    recorded: RunRecord,  # a trial that has converged
    framework: Framework,
    loads: bool,
    show: Callable[[str], None],
) -> Exported:
    """The script for a trial; `loads`: it can also predict with the weights that `fewest train --save` writes."""
    configuration, most = Configuration.of(recorded.params), room(recorded.spent, spec.max_epochs)
    recipe = Recipe(configuration, spec.inputs, spec.sigma, spec.target, spec.hold, most, loads)
    about = [
        f"{configuration.classes} classes of {quoted(spec.data.name) if spec.data else 'waves'}, "
        f"learned to an accuracy of {spec.target:g} in {epochs(recorded.spent)}.",
        configuration.in_words(),
        f"Found by fewest as trial {recorded.trial} of study {quoted(study)}.",
    ]
    data = _packed(samples, framework) if samples else None
    seed, message = 0, f"Not run yet: {framework} is not installed where it was exported"
    if importlib.util.find_spec(framework):
        text = partial(script, recipe, framework, about)
        seed, message = find_seed(text, data, framework, recorded.spent, show)
    return Exported(script(recipe, framework, [*about, f"{message}."], seed), data, message)


def find_seed(
    text: Callable[[int], str], data: bytes | None, framework: Framework, recorded: int, show: Callable[[str], None]
) -> tuple[int, str]:
    """The first seed that converges in as many epochs as recorded, else the nearest; and what came out, in words.

    `text` makes the script with a seed, and `recorded` counts epochs. Failure if the script does not run.
    """
    needed: list[int | None] = []
    with TemporaryDirectory() as directory:
        file = Path(directory) / "script.py"
        if data:
            framework.data_file(file).write_bytes(data)
        for seed in range(SEEDS):
            file.write_text(text(seed), encoding="utf-8")
            needed.append(_epochs_needed(file))
            outcome = "not converged" if needed[-1] is None else epochs(needed[-1])
            if needed[-1] == recorded:
                return seed, f"Seed {seed}: {outcome}, as recorded ({_versions(framework)})"
            show(f"seed {seed}: {outcome}, and {epochs(recorded)} recorded")
    return _nearest(needed, recorded, _versions(framework))


def _nearest(needed: Sequence[int | None], recorded: int, versions: str) -> tuple[int, str]:
    """The seed that came nearest to the recorded epochs, and that it did not come to them."""
    converged = {seed: epochs for seed, epochs in enumerate(needed) if epochs is not None}
    tried = f"seeds 0 to {len(needed) - 1}"
    if not converged:
        return 0, f"None of {tried} converges, though the trial did in {epochs(recorded)} ({versions})"
    nearest = min(converged, key=lambda seed: abs(converged[seed] - recorded))  # the first of equals
    each = " ".join("–" if epochs is None else str(epochs) for epochs in needed)
    outcome = f"{epochs(converged[nearest])}, the nearest to the recorded {recorded} of {tried}"
    return nearest, f"Seed {nearest}: {outcome} ({each}; {versions})"


def _epochs_needed(script: Path) -> int | None:
    """The epochs that a script says it converged in; None if it says that it did not."""
    environment = {"KERAS_BACKEND": "torch"} | os.environ  # the one that is surely installed
    command, nothing = [sys.executable, "-I", script.name], subprocess.DEVNULL
    done = subprocess.run(command, cwd=script.parent, env=environment, stdin=nothing, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Failure(f"the script does not run here: {lines[-1]}")
    converged = re.search(r"^converged after (\d+) epochs$", done.stdout, re.M)
    return int(converged[1]) if converged else None


def _versions(framework: Framework) -> str:
    if framework is Framework.TORCH:
        return f"torch {metadata.version('torch')}"
    return f"keras {metadata.version('keras')} on {os.environ.get('KERAS_BACKEND', 'torch')}"


def _packed(samples: Samples, framework: Framework) -> bytes:
    """The data as the script loads them."""
    file = io.BytesIO()
    if framework is Framework.KERAS:
        np.savez_compressed(file, X=samples.x, y=samples.labels, names=np.array(samples.names))
        return file.getvalue()
    import torch

    tensors = {"X": torch.from_numpy(samples.x), "y": torch.from_numpy(samples.labels)}
    torch.save(tensors | {"names": list(samples.names)}, file)
    return file.getvalue()
