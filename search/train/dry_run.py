"""Whether a user module can be trained at all: seen before its study begins, on a few samples."""

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
    """UsageError says what is wrong with the first configuration if no other does either."""
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
