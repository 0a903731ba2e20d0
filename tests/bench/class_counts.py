"""Epochs against classes: the question's model, the answer's model, and the best that a search over class counts finds.

`python -m tests.bench.class_counts [--classes 16..1024] [--trials 400] [--seed 0] [--picture FILE.svg]` runs one
`fewest launch --classes … --trials …`, trains the page's two models at each class count, prints a table and draws it.
The two models get 3,000 epochs up to 256 classes and fewer above, as their cost grows with the square of the count.
"""

import argparse
import json
import os
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median_low

import torch

from objectives.convergence import Trial
from objectives.data.batches import Batches
from objectives.data.waves import Waves
from objectives.trainers.solo import Solo
from search.spec.parsing import class_counts
from search.spec.space import PRESETS, preset
from search.spec.study_spec import StudySpec
from tests.bench.seeds import launch

EPOCHS, UPTO = 3000, 256  # of the page's models, up to so many classes
COLOURS = {"question": "#b5472f", "answer": "#c9922e", "best": "#2a6f97"}
SIZES = {"question": 12, "answer": 7, "best": 7}  # points; where the two models share a place both are seen


def trained(scale: float, model: tuple[str, int]) -> tuple[int, bool, float]:
    """Epochs of one of the page's models, whether it converged, and its best accuracy."""
    name, classes = model
    torch.set_num_threads(1)
    spec = StudySpec.of()
    cap = max(1, round(scale * EPOCHS * min(1.0, UPTO / classes) ** 2))
    trainer = Solo(Batches(Waves(spec.inputs, spec.sigma)), spec.target, spec.hold)
    trainer.admit(Trial(0, preset(name, classes), 0, 0, cap))
    while not (ended := trainer.advance(64)):
        pass
    outcome = ended[0][1]
    return outcome.epochs, outcome.converged, outcome.best_accuracy or 0.0


def draw(picture: Path, found: dict[str, dict[int, tuple[int, bool]]]) -> None:
    """Epochs over classes, both on log scales; a miss is an open triangle at the epochs that it was given."""
    import matplotlib
    from matplotlib import pyplot

    matplotlib.rcParams.update({"font.size": 10, "svg.hashsalt": "fewest", "axes.spines.right": False})
    matplotlib.rcParams["axes.spines.top"] = False
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, points in found.items():
        colour = COLOURS[name]
        axes.plot(list(points), [epochs for epochs, _ in points.values()], "-", color=colour, alpha=0.35)
        for hit, marker, face in ((True, "o", colour), (False, "^", "white")):
            some = {classes: epochs for classes, (epochs, converged) in points.items() if converged is hit}
            label = f"{name}{'' if hit else ': not learned in so many'}" if some else None
            axes.plot(
                list(some),
                list(some.values()),
                marker,
                color=colour,
                markerfacecolor=face,
                markersize=SIZES[name],
                label=label,
            )
    counts = sorted({classes for points in found.values() for classes in points})
    axes.set(xscale="log", yscale="log", xlabel="classes", ylabel="epochs to convergence")
    axes.set_xticks(counts, list(map(str, counts)), minor=False)
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.2)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(picture, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", default="16..1024")
    parser.add_argument("--trials", default="400")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="of the epochs that the page's models get")
    arguments = parser.parse_args()
    counts = [int(classes) for classes in class_counts(arguments.classes).values]
    answer, wall = launch(arguments.seed, ["--classes", arguments.classes, "--trials", arguments.trials])
    best = {winner["classes"]: winner for winner in answer["winners"]}
    models = [(name, classes) for name in PRESETS for classes in reversed(counts)]  # the longest first
    with get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        outcomes = dict(zip(models, pool.map(partial(trained, arguments.scale), models, chunksize=1), strict=True))
    print(f"`fewest launch --classes {arguments.classes} --trials {arguments.trials}`: {wall:.0f} s\n")
    print("| classes | question's model | answer's model | best, on fresh seeds | trials | converged | configuration |")
    print("|---|---|---|---|---|---|---|")
    tried = {row["classes"]: row for row in answer["by_classes"]}
    for classes in counts:
        cells = [
            f"{epochs:,}" if hit else f"> {epochs:,} (accuracy {accuracy:.2f})"
            for epochs, hit, accuracy in (outcomes[name, classes] for name in PRESETS)
        ]
        winner = best.get(classes)
        fresh = " ".join(map(str, winner["replicate_epochs"])) if winner else "none confirmed"
        what = json.dumps(winner["params"]) if winner else ""
        counted = tried.get(classes, {"trials": 0, "converged": 0})
        print(f"| {classes} | {' | '.join(cells)} | {fresh} | {counted['trials']} | {counted['converged']} | {what} |")
    if arguments.picture:
        found = {name: {classes: outcomes[name, classes][:2] for classes in counts} for name in PRESETS}
        found["best"] = {
            classes: (median_low(best[classes]["replicate_epochs"]), True) for classes in counts if classes in best
        }
        draw(arguments.picture, found)


if __name__ == "__main__":
    main()
