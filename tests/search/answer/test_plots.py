"""Figures as functions of records: what is drawn, what is said, and that hits and misses cannot be confused."""

import random
from dataclasses import replace
from typing import Any

import pytest

from objectives.convergence import Curve
from search.answer.report import comparisons, figures, importance, plots
from search.answer.report import parallel_coordinates as parallel
from search.query.records import TrialRecord
from search.spec.space import Choices, Range, defaults
from tests.support.records import best, run, rung, trial

SPACE = {"classes": Choices(values=(8, 16)), **defaults(16)}


def made(n: int, seed: int = 0) -> list[TrialRecord]:
    """Trials all over the default space, of which some sines converge."""
    draw = random.Random(seed)
    rows = []
    for number in range(n):
        params = {name: dimension.at(draw.random()) for name, dimension in SPACE.items()}
        if params["hidden_layers"] == 1:
            del params["width_2"]
        hit = params["activation"] == "sine" and draw.random() < 0.8
        epochs = draw.choice((0, 1, 2, 5, 30)) if hit else draw.choice((4, 12))
        rows.append(trial(trial=number, classes=params["classes"], converged=hit, epochs=epochs, params=params))
    return rows


def exhibits(rows: list[TrialRecord]) -> list[figures.Exhibit]:
    """Everything that is drawn of trials."""
    hits = [row for row in rows if row.converged][:1]
    firsts = [best(trial=row.trial, classes=row.classes, replicate_epochs=[row.epochs]) for row in hits]
    compared = [plots.survival(rows, name, SPACE[name]) for name in plots.COMPARED]  # type: ignore[arg-type]
    singles = [plots.parameter(rows, name, dimension) for name, dimension in SPACE.items()]
    whole = [plots.importances(rows, SPACE), parallel.exhibit(rows, SPACE)]
    return [*singles, *compared, *whole, plots.class_counts(rows, firsts, (8, 16))]


@pytest.mark.parametrize("name", ["activation", "lr", "width_2"])
def test_hits_and_misses_differ_in_mark_colour_and_place(name: str) -> None:
    """Every trial that has the parameter is drawn once, a miss in a band that no epochs reach."""
    rows = made(100)
    figure = plots.parameter(rows, name, SPACE[name]).figure
    hits, misses = figure.data
    assert (hits.name, misses.name) == ("converged", "missed") and (hits.yaxis, misses.yaxis) == ("y", "y2")
    assert hits.marker.symbol != misses.marker.symbol and hits.marker.color != misses.marker.color
    assert figure.layout.yaxis.domain[1] < figure.layout.yaxis2.domain[0]
    assert len(hits.x) + len(misses.x) == sum(name in row.params for row in rows)


@pytest.mark.parametrize(
    "rows",
    [
        made(1),
        made(9),
        [replace(row, converged=False) for row in made(60)],
        [replace(row, converged=True) for row in made(60)],
    ],
    ids=["one trial", "few", "nothing converged", "all converged"],
)
def test_every_figure_can_be_drawn(rows: list[TrialRecord]) -> None:
    """Whatever came of the trials, each exhibit has a figure and says something."""
    for each in exhibits(rows):
        assert each.figure.to_json() and each.finding.endswith(".") and "None" not in each.finding


def test_a_large_study_is_drawn_in_part_and_told_whole() -> None:
    """20,000 trials make little more of a figure than 1,000, with the best among them; words count all of them."""
    rows = made(20_000)
    shown = figures.drawn(rows)
    assert len(shown) <= figures.MOST_DRAWN and [row.trial for row in shown] == sorted({row.trial for row in shown})
    quickest = sorted((row for row in rows if row.converged), key=lambda row: (row.epochs, row.trial))
    assert {row.trial for row in quickest[:100]} <= {row.trial for row in shown}
    everything = exhibits(rows)
    assert sum(len(each.figure.to_json()) for each in everything) < 2_000_000
    sines = [row for row in rows if row.params["activation"] == "sine"]
    finding = next(each.finding for each in everything if each.name == "epochs-activation")
    assert f"sine: {sum(row.converged for row in sines)} of {len(sines)} converged" in finding


def test_the_finding_names_where_most_and_fewest_converge() -> None:
    """A choice with one lucky trial is not put before one with many."""
    of = {"sine": (83, 90), "sigmoid": (0, 41), "tanh": (1, 1)}
    rows = [
        trial(trial=i, converged=i < hits, epochs=3, params={"activation": name})
        for name, (hits, n) in of.items()
        for i in range(n)
    ]
    assert plots.shares(rows, "activation") == "sine: 83 of 90 converged; sigmoid: 0 of 41 converged."


def test_a_number_is_told_by_thirds_of_the_trials() -> None:
    """Whole ranges of a number, the best and the worst third."""
    rows = [trial(trial=i, converged=i >= 20 or i == 15, epochs=3, params={"gain": i + 1.0}) for i in range(30)]
    assert plots.shares(rows, "gain") == "21 to 30: 10 of 10 converged; 1 to 10: 0 of 10 converged."


def test_learning_curves_say_what_each_was_given() -> None:
    """A model that converged by its epochs, one that did not by its accuracy and what it was given."""
    curve = Curve(list(range(900)), [0.1] * 899 + [1.0], [2.0, float("nan"), 0.0, *[0.5] * 897])
    hit = run(converged=True, epochs=897, accuracy=1.0, curve=curve)
    miss = replace(hit, converged=False, epochs=300, accuracy=0.03)
    exhibit = comparisons.learning_curves({"winner": [hit, hit], "question's model": [miss]}, 0.99)
    finding = "winner: 897 epochs on 2 of 2 seeds; question's model: accuracy 0.030 in the 300 epochs it was given."
    assert exhibit.finding == finding
    line = exhibit.figure.data[0]
    assert len(line.x) <= comparisons.POINTS and (line.x[0], line.x[-1]) == (figures.BEFORE_ONE, 899)
    assert exhibit.figure.data[1].y[1:3] == (None, None)  # no logarithm
    assert exhibit.figure.data[0].marker.symbol != exhibit.figure.data[-1].marker.symbol


def test_the_ladder_is_drawn_by_class_count() -> None:
    """A dot for each run that converged, a cross at the cap for a rung that some run missed, the fewest in words."""
    question = rung(rung="question", kind="model", classes=32, seeds=3, converged=0, epochs=[], cap=3000)
    better = replace(question, rung="winner-7", kind="winner", about="the winner", converged=2, epochs=[1, 2])
    few, many = comparisons.ladder([question, better, replace(question, classes=256)])
    assert (few.name, many.name) == ("ladder-32", "ladder-256")
    hits, misses = few.figure.data
    assert (list(hits.x), list(hits.y)) == ([1, 2], [1, 1]) and (list(misses.x), list(misses.y)) == ([3000] * 2, [0, 1])
    assert "1 of 2 rungs" in few.finding and "1 epoch: the winner" in few.finding and "0 of 1" in many.finding


def test_an_axis_of_epochs_has_a_place_for_none() -> None:
    """Zero epochs stand left of one, and are called 0."""
    axis = figures.epoch_axis([0, 300])
    assert axis["tickvals"][0] == figures.BEFORE_ONE and axis["ticktext"][0] == "0" and axis["range"][1] > 2.4
    assert "0" not in figures.epoch_axis([1, 300])["ticktext"]


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [lambda colour: colour, figures.DARK.__getitem__], ids=["light", "dark"])
def test_marks_stand_out_from_either_background(scheme: Any) -> None:
    """Contrast 3 of every mark and line, 4.5 of text, in both schemes."""
    paper = luminance(scheme(figures.PAPER))
    for colour, least in [(each, 3) for each in (*figures.SERIES, *figures.RAMP, figures.MUTED)] + [
        (figures.INK, 4.5),
        (figures.FAINT, 4.5),
    ]:
        low, high = sorted((luminance(scheme(colour)), paper))
        assert (high + 0.05) / (low + 0.05) >= least, colour


def test_parallel_lines_cross_every_axis_and_end() -> None:
    """Every trial has one height for each searched parameter, one that it lacks below the axis, then a gap."""
    rows = made(40)
    names = list(figures.searched(SPACE))
    lines = [trace for trace in parallel.exhibit(rows, SPACE).figure.data if trace.x]
    assert sum(len(trace.x) for trace in lines) == len(rows) * (len(names) + 1)
    heights = [y for trace in lines for y in trace.y if y is not None]
    assert heights.count(parallel.ABSENT) == sum("width_2" not in row.params for row in rows)
    assert all(y == parallel.ABSENT or 0 <= y <= 1 for y in heights)


def test_a_fraction_of_a_range_is_where_its_value_is() -> None:
    """`fraction` undoes `at`, on a log scale and not."""
    for log in (False, True):
        of = Range(low=0.01, high=10, log=log, whole=False)
        assert [of.fraction(of.at(u)) for u in (0, 0.3, 1)] == pytest.approx([0, 0.3, 1])


def test_choices_of_mixed_types_are_named_as_they_are() -> None:
    """As a user module may have them: numbers, words, true and false."""
    rows = [trial(params={"pool": pool, "norm": pool == 3}, converged=pool == 3) for pool in [3, "a", 5] * 9]
    assert plots.shares(rows, "pool").startswith("3: 9 of 9 converged; ")
    assert plots.shares(rows, "norm") == "True: 9 of 9 converged; False: 0 of 18 converged."
    mixed = [replace(row, params={"n": i % 9 if i % 2 else "x"}) for i, row in enumerate(rows)]
    assert importance.whether(mixed, "n") is not None


def test_a_run_without_an_evaluation_is_not_drawn() -> None:
    """Such as one that ran out of memory at once."""
    assert not Curve((), (), ()) and Curve((0,), (0.1,), (1.0,))
