"""What a study found, to look at: one page of figures with what each says, and the words that a launch ends with."""

from collections.abc import Sequence
from statistics import median_low

from search.answer import wording
from search.answer.ladder.verdicts import claims
from search.answer.report import comparisons, figures, importance, plots
from search.answer.report import parallel_coordinates as parallel
from search.answer.report.findings import Findings
from search.answer.report.page import Section, page
from search.spec.space import Choices
from search.spec.study_spec import in_words

CURVES = (
    "Evaluation e is made after e epochs, on data not yet trained on. A line ends with a dot where the model has "
    "converged, with a cross where it was stopped before. The winner is shown on the fresh seeds that confirmed it."
)
PARAMETERS = (
    "A dot is a trial that converged, at the epochs it needed. A cross in the band above is a miss: it needs more than "
    "the epochs it was given. Dots are spread within their choice, and crosses within their band, to show how many."
)
PARALLEL = "A line is a trial, and crosses each axis at its value. Click a name in the legend to hide its lines."
DECIDES = (
    "The share of variance that knowing one parameter alone explains, corrected for chance: of hit or miss over all "
    "trials, and of the rank of epochs among those that converged. What matters only together with something else is "
    "not seen; and since the search looks where it has found something, parameters chosen together share what one does."
)
CONVERGENCE = (
    "The share of trials that have not converged by an epoch, by Kaplan and Meier's product limit: a miss counts until "
    "the epochs it was given (a tick) and not after. In the legend: converged/trials. Trials are also stopped for "
    f"doing worse than others, so a line is too low. It ends where fewer than {plots.AT_RISK} trials are left."
)
CLASSES = "Dots and crosses as above; the winner of a class count is at the median of its epochs on fresh seeds."
LADDER = "A dot is a run that converged; a cross stands at the epochs that runs which missed were given."


def lead(this: Findings) -> list[list[str]]:
    """What was found, in words: the winners, the question's model, and how many trials missed."""
    found = this.conclusion
    state = found.status
    paragraphs = [wording.winner(first, found) for first in found.winners] or [[wording.no_winner(state)]]
    if found.question:
        paragraphs.append(wording.question(found.question))
    unfinished = state.running + state.waiting + state.confirming
    more = [f"The search is not over: {unfinished} runs have no outcome yet"] if unfinished else []
    return [*paragraphs, [wording.progress(state), *more]]


def sections(this: Findings) -> list[Section]:
    """The page's parts, without those that there is nothing for."""
    parts = [_curves(this)] if this.models else []
    if this.ended:
        whole = _parameters(this), _parallel(this), _decides(this), _convergence(this)
        parts += [part for part in whole if part.exhibits]
        if len(this.spec.class_counts) > 1:
            firsts = this.conclusion.winners
            shown = plots.class_counts(this.ended, firsts, Choices(values=this.spec.class_counts))
            parts.append(Section("Epochs against classes", [CLASSES, *_note(this, figures.MOST_DRAWN)], [shown]))
    return [part for part in (*parts, _ladder(this), _facts(this)) if part]


def _curves(this: Findings) -> Section:
    words = [f"{label}: {wording.configuration(runs[0].params)}" for label, runs in this.models.items()]
    shown = comparisons.learning_curves(this.models, this.spec.target)
    return Section(f"Learning curves, {this.classes} classes", [CURVES, *words], [shown])


def _parameters(this: Findings) -> Section:
    space = this.spec.space
    shown = [plots.parameter(this.ended, name, space[name]) for name in figures.searched(space) if name != "classes"]
    return Section("Epochs against each parameter", [PARAMETERS, *_note(this, figures.MOST_DRAWN)], shown)


def _parallel(this: Findings) -> Section:
    space = this.spec.space
    shown = [parallel.exhibit(this.ended, space)] if figures.searched(space) else []
    return Section("Parallel coordinates", [PARALLEL, *_note(this, parallel.LINES)], shown)


def _decides(this: Findings) -> Section:
    enough = len(this.ended) >= importance.LEAST and figures.searched(this.spec.space)
    return Section("What decides", [DECIDES], [plots.importances(this.ended, this.spec.space)] if enough else [])


def _convergence(this: Findings) -> Section:
    space = this.spec.space
    shown = [
        plots.survival(this.ended, name, dimension)
        for name in plots.COMPARED
        if isinstance(dimension := space.get(name), Choices) and len(dimension.values) > 1
    ]
    return Section("How many converge, and when", [CONVERGENCE], shown)


def _ladder(this: Findings) -> Section | None:
    if not this.ladder and (this.spec.data or this.spec.objective):
        return None
    if not this.ladder:
        return Section("The page's claims", ["`fewest ladder` measures them one by one; in this study it has not yet."])
    heads = ["classes", "rung", "what", "converged", "epochs", "verdict"]
    rows = [
        [
            str(rung.classes),
            str(rung.rung),
            rung.about,
            f"{rung.converged} of {rung.seeds}",
            f"{median_low(sorted(rung.epochs))}" if rung.epochs else f"> {rung.cap}",
            rung.verdict,
        ]
        for rung in this.ladder
    ]
    counted = len({rung.classes for rung in this.ladder}) > 1
    said = [
        f"{claim.text}{f' ({claim.classes} classes)' if counted else ''} – {claim.verdict}"
        for claim in claims(this.ladder)
    ]
    return Section("The page's claims", [*said, LADDER], comparisons.ladder(this.ladder), [heads, *rows])


def _facts(this: Findings) -> Section:
    """The spec: what was searched, and what counts as converged."""
    spec = this.spec
    fields = {name: in_words(value) for name, value in spec if name not in ("space", "start", "data")}
    if spec.data:
        fields = {"data": str(spec.data)} | {name: value for name, value in fields.items() if name != "sigma"}
    searched = {figures.plain(name): in_words(dimension) for name, dimension in spec.space.items()}
    rows = [[figures.plain(name), value.replace(",", ", ")] for name, value in (fields | searched).items()]
    return Section(
        "The study",
        [f"What study {this.name} searches, and what counts as converged."],
        table=[["setting", "value"], *rows],
    )


def _note(this: Findings, most: int) -> list[str]:
    """What is left out of a figure of so many trials at most."""
    if len(this.ended) <= most:
        return []
    drawn = f"Drawn are at most {most:,} of {len(this.ended):,} trials, the quickest and an even sample of the others"
    return [f"{drawn}; what is said in words counts all."]


def html(this: Findings, parts: Sequence[Section]) -> str:
    """The whole file."""
    return page(f"{this.name}: what converges in the fewest epochs", lead(this), parts)
