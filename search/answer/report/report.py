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


def lead(findings: Findings) -> list[list[str]]:
    """What was found, in words: the winners, the question's model, and how many trials missed."""
    conclusion, status = findings.conclusion, findings.conclusion.status
    winners = [wording.winner(first, conclusion) for first in conclusion.winners]
    question = [wording.question(conclusion.question)] if conclusion.question else []
    unfinished = status.running + status.waiting + status.confirming
    more = [f"The search is not over: {unfinished} runs have no outcome yet"] if unfinished else []
    return [*(winners or [[wording.no_winner(status)]]), *question, [wording.progress(status), *more]]


def sections(findings: Findings) -> list[Section]:
    """The page's parts, without those that there is nothing for."""
    parts = [_curves(findings)] if findings.models else []
    if findings.ended:
        compared = _parameters, _parallel, _decides, _convergence, _class_counts
        parts += [part for section in compared if (part := section(findings)).exhibits]
    parts += [_claims(findings)] if findings.ladder or not (findings.spec.data or findings.spec.objective) else []
    return [*parts, _facts(findings)]


def _curves(findings: Findings) -> Section:
    words = [f"{label}: {wording.configuration(runs[0].params)}" for label, runs in findings.models.items()]
    shown = comparisons.learning_curves(findings.models, findings.spec.target)
    return Section(f"Learning curves, {findings.classes} classes", [CURVES, *words], [shown])


def _parameters(findings: Findings) -> Section:
    axes = figures.searched(findings.spec.space)
    shown = [plots.parameter(findings.ended, name, axis) for name, axis in axes.items() if name != "classes"]
    return Section("Epochs against each parameter", [PARAMETERS, *_note(findings, figures.MOST_DRAWN)], shown)


def _parallel(findings: Findings) -> Section:
    space = findings.spec.space
    shown = [parallel.exhibit(findings.ended, space)] if figures.searched(space) else []
    return Section("Parallel coordinates", [PARALLEL, *_note(findings, parallel.LINES)], shown)


def _decides(findings: Findings) -> Section:
    ended, space = findings.ended, findings.spec.space
    enough = len(ended) >= importance.LEAST and figures.searched(space)
    return Section("What decides", [DECIDES], [plots.importances(ended, space)] if enough else [])


def _convergence(findings: Findings) -> Section:
    axes = figures.searched(findings.spec.space)
    compared = {name: axis for name in plots.COMPARED if isinstance(axis := axes.get(name), Choices)}
    shown = [plots.survival(findings.ended, name, axis) for name, axis in compared.items()]
    return Section("How many converge, and when", [CONVERGENCE], shown)


def _class_counts(findings: Findings) -> Section:
    counts, firsts = findings.spec.class_counts, findings.conclusion.winners
    shown = [plots.class_counts(findings.ended, firsts, counts)] if len(counts) > 1 else []
    return Section("Epochs against classes", [CLASSES, *_note(findings, figures.MOST_DRAWN)], shown)


def _claims(findings: Findings) -> Section:
    rungs = findings.ladder
    if not rungs:
        return Section("The page's claims", ["`fewest ladder` measures them one by one; in this study it has not yet."])
    heads = ["classes", "rung", "what", "converged", "epochs", "verdict"]
    rows = []
    for rung in rungs:
        needed = f"{median_low(rung.epochs)}" if rung.epochs else f"> {rung.cap}"
        converged = f"{rung.converged} of {rung.seeds}"
        rows.append([f"{rung.classes}", rung.rung, rung.about, converged, needed, rung.verdict])
    several = len({rung.classes for rung in rungs}) > 1
    verdicts = [
        f"{claim.text}{f' ({claim.classes} classes)' if several else ''} – {claim.verdict}" for claim in claims(rungs)
    ]
    return Section("The page's claims", [*verdicts, LADDER], comparisons.ladder(rungs), [heads, *rows])


def _facts(findings: Findings) -> Section:
    """The spec: what was searched, and what counts as converged."""
    spec = findings.spec
    fields = {name: in_words(value) for name, value in spec if name not in ("space", "start", "data")}
    if spec.data:
        fields = {"data": str(spec.data)} | {name: value for name, value in fields.items() if name != "sigma"}
    fields |= {name: in_words(dimension) for name, dimension in spec.space.items()}
    rows = [[figures.plain(name), value.replace(",", ", ")] for name, value in fields.items()]
    about = f"What study {findings.name} searches, and what counts as converged."
    return Section("The study", [about], table=[["setting", "value"], *rows])


def _note(findings: Findings, most: int) -> list[str]:
    """What is left out of a figure of so many trials at most."""
    n = len(findings.ended)
    if n <= most:
        return []
    drawn = f"Drawn are at most {most:,} of {n:,} trials, the quickest and an even sample of the others"
    return [f"{drawn}; what is said in words counts all."]


def html(findings: Findings, parts: Sequence[Section]) -> str:
    """The whole file."""
    return page(f"{findings.name}: what converges in the fewest epochs", lead(findings), parts)
