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
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from objectives.configuration import Configuration
from objectives.data.samples import Samples
from search.answer.export import keras as keras_script
from search.answer.export import pytorch as torch_script
from search.answer.export.script import Framework, Recipe, quoted
from search.ask.stopping import room
from search.cli.output import epochs
from search.errors import Failure
from search.spec.study_spec import StudySpec

SEEDS = 10  # tried at most
_WRITE = {Framework.TORCH: torch_script.script, Framework.KERAS: keras_script.script}
_DATA = {Framework.TORCH: torch_script.DATA, Framework.KERAS: keras_script.DATA}


@dataclass(frozen=True)
class Exported:
    """A script and what belongs to it."""

    text: str
    #: The content of the file beside it, if it needs one.
    data: bytes | None
    #: What came out when it was run.
    said: str


def data_beside(script: Path, framework: Framework) -> Path:
    """Where a script looks for its data."""
    return script.with_suffix(_DATA[framework])


def export(
    study: str,
    spec: StudySpec,
    samples: Samples | None,  # of a data set
    recorded: dict[str, Any],  # by query.trial: a trial that has converged
    framework: Framework,
    loads: bool,
    show: Callable[[str], None],
) -> Exported:
    """The script for a trial; `loads`: it can also predict with the weights that `fewest train --save` writes."""
    configuration = Configuration.of(recorded["params"])
    most = room(recorded["epochs"], spec.max_epochs)
    common = spec.inputs, spec.sigma, spec.target, spec.hold
    recipe = Recipe(configuration, *common, most, data=samples is not None, loads=loads)
    what = f"{configuration.classes} classes of {quoted(spec.data.name) if spec.data else 'waves'}"
    about = [
        f"{what}, learned to an accuracy of {spec.target:g} in {epochs(recorded['epochs'])}.",
        configuration.in_words(),
        f"Found by fewest as trial {recorded['trial']} of study {quoted(study)}.",
    ]

    def written(seed: int, said: str = "") -> str:
        return _WRITE[framework](recipe, seed, [*about, *filter(None, [said])])

    data = _packed(samples, framework) if samples else None
    if importlib.util.find_spec(framework) is None:
        said = f"Not run yet: {framework} is not installed where it was exported"
        return Exported(written(0, f"{said}."), data, said)
    seed, said = _settled(written, data, framework, recorded["epochs"], show)
    return Exported(written(seed, f"{said}."), data, said)


def _settled(
    written: Callable[[int], str], data: bytes | None, framework: Framework, recorded: int, show: Callable[[str], None]
) -> tuple[int, str]:
    """The first seed that converges in as many epochs as recorded, else the nearest; and what came out, in words."""
    came: list[int | None] = []
    with TemporaryDirectory() as directory:
        file = Path(directory) / "script.py"
        if data:
            data_beside(file, framework).write_bytes(data)
        for seed in range(SEEDS):
            file.write_text(written(seed), encoding="utf-8")
            came.append(_run(file))
            said = "not converged" if came[-1] is None else epochs(came[-1])
            if came[-1] == recorded:
                return seed, f"Seed {seed}: {said}, as recorded ({_versions(framework)})"
            show(f"seed {seed}: {said}, and {epochs(recorded)} recorded")
    return _nearest(came, recorded, _versions(framework))


def _nearest(came: Sequence[int | None], recorded: int, versions: str) -> tuple[int, str]:
    """The seed that came nearest to the recorded epochs, and that it did not come to them."""
    away = {seed: abs(epochs - recorded) for seed, epochs in enumerate(came) if epochs is not None}
    tried = f"seeds 0 to {len(came) - 1}"
    if not away:
        return 0, f"None of {tried} converges, though the trial did in {epochs(recorded)} ({versions})"
    nearest = min(away, key=lambda seed: (away[seed], seed))
    found = " ".join("–" if each is None else str(each) for each in came)
    said = f"Seed {nearest}: {epochs(came[nearest] or 0)}, the nearest to the recorded {recorded} of {tried} ({found}; "
    return nearest, f"{said}{versions})"


def _run(script: Path) -> int | None:
    """The epochs that a script says it converged in; None if it says that it did not."""
    environment = {"KERAS_BACKEND": "torch"} | os.environ  # the one that is there for certain
    command = [sys.executable, "-I", script.name]
    done = subprocess.run(
        command, cwd=script.parent, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Failure(f"the script does not run here: {said[-1]}")
    found = re.search(r"^converged after (\d+) epochs$", done.stdout, re.M)
    return int(found[1]) if found else None


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

    x, y = torch.from_numpy(samples.x), torch.from_numpy(samples.labels)
    torch.save({"X": x, "y": y, "names": list(samples.names)}, file)
    return file.getvalue()
