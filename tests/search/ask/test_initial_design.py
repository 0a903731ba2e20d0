"""A study's beginning is a function of its spec, covers its space, and starts with what it is given."""

import pytest

from objectives.configuration import Configuration
from search.ask.initial_design import COVER, Design
from search.spec import parsing as options
from search.spec.space import PRESETS, Choices, Range, preset
from search.spec.study_spec import StudySpec


def test_a_point_depends_on_the_spec_and_its_number_alone() -> None:
    """In whatever order points are asked for; another seed gives others."""
    forwards, backwards = (
        [Design(StudySpec.of()).point(number) for number in order] for order in (range(9), range(8, -1, -1))
    )
    assert forwards == backwards[::-1]
    assert forwards[3:] != [Design(StudySpec.of(seed=1)).point(number) for number in range(3, 9)]


@pytest.mark.parametrize("seed", range(5))
def test_the_first_points_cover_the_space(seed: int) -> None:
    """Among the first 32 every choice occurs, and every eighth of every range, also of class counts."""
    spec = StudySpec.of(classes=options.class_counts("16..1024"), seed=seed)
    drawn = [Design(spec).drawn(number) for number in range(COVER)]
    for name, dimension in spec.space.items():
        if isinstance(dimension, Choices):
            assert {params[name] for params in drawn} == set(dimension.values)
    for name, dimension in spec.space.items():
        if isinstance(dimension, Range) and not dimension.whole:
            ends = [dimension.at(eighth / 8) for eighth in range(9)]
            eighths = {sum(params[name] >= end for end in ends) for params in drawn}
            assert eighths == set(range(1, 9)), name


def test_a_study_begins_with_what_it_is_given_and_the_pages_models() -> None:
    """What is given comes first, moved into the space; what it leaves open is drawn; all can be trained."""
    space = options.dimensions(["activation=tanh"], ["lr=0.01:1"], [])
    spec = StudySpec.of(classes=options.class_counts("32"), space=space, start=({"lr": 5.0, "gain": 7.0},))
    design = Design(spec)
    first, question = design.point(0), design.point(1)
    assert (first["lr"], first["gain"], first["activation"], first["classes"]) == (1.0, 7.0, "tanh", 32)
    assert question == preset("question", 32).params | {"activation": "tanh", "lr": 0.01}
    assert len(design) == 1 + len(PRESETS) + COVER
    for number in range(len(design)):
        Configuration.of(design.point(number))
