"""A dry run: a user module is trained on a few samples before its study begins, to see whether it can be at all."""

from objectives.configuration import Configuration
from objectives.data.batches import Problem
from objectives.data.samples import Samples
from objectives.data.waves import Waves
from objectives.trainers import solo
from objectives.user_code.loader import UserCodeError, one_line
from search.ask.initial_design import Design
from search.errors import UsageError
from search.spec.study_spec import StudySpec

POINTS = 8  # of the study's design, of which one must do: some configurations may be impossible


def dry_run(spec: StudySpec, samples: Samples | None, device: str) -> None:
    """Train a few configurations; UsageError, which names the first one's fault, if none of them can be trained."""
    problem: Problem = samples or Waves(spec.inputs, spec.sigma)
    design, first = Design(spec), ""
    for number in range(POINTS):
        try:
            return solo.dry_run(Configuration.of(design.point(number)), problem, device)
        except UserCodeError as error:
            first = first or str(error)
        except (MemoryError, RuntimeError) as error:  # of the device
            first = first or f"{spec.objective}: {one_line(error)}"
    raise UsageError(f"`objective` {first}")
