"""What can hold a trial back: each cause with its criterion, what was measured, and what to change.

A cause is a function of a case, that is of a missed trial's curve and of what `objectives.probe` measured while it was
trained again; it answers with a finding or None. The thresholds were set on misses of real studies, by whether the
advice helps when it is followed (`python -m tests.bench.advice`).
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from objectives.parameters import PARAMETERS
from search.answer.why.miss_diagnosis import Case, Cause, Finding, epochs_in_words, in_words
from search.ask.stopping import FLOOR

if TYPE_CHECKING:
    from objectives.probe import UpdateEffect

SILENT, DEAD = 0.3, 0.7  # of the samples, of the units: from here on it is what holds the trial back
UNREAD = 0.5  # of what could be read, below which the hidden outputs are what is wrong
HELPS = 2.0  # times as many readable classes that a change must make to be advised
LOUD = 3.0  # times the loss of guessing, from where a network begins by being sure of what is wrong
STEADY = 0.1  # how far an update may move the first layer's pre-activations
NEGLIGIBLE = 0.1  # a loss that needs no mending
WORTH = 0.9  # of a loss: what another step must bring it to for this one to be called too small or too large
ENOUGH = 0.9  # of the best step's gain: the smallest step that has as much is advised
ROSE = 2.0  # times its least, from where the loss has risen again
SHOWN = 0.9  # of the samples that come next
OVERFIT = 0.1  # accuracy on what was learned above that on what was not
LONGER = 4  # times as many epochs, or FLOOR, for a trial that was stopped early
PACE = 0.5  # of the pace before: slower than that it is not steady
FAR = 3  # times its epochs, beyond which no pace is told


def diverged(case: Case) -> Finding | None:
    """The loss became infinite, or no number: through the steps, or from the start through the inputs."""
    curve, guessing = case.curve, math.log(case.configuration.classes)
    wrong = [e for e, loss in zip(curve.epochs, curve.loss, strict=True) if not math.isfinite(loss)]
    if not wrong:
        return None
    said = f"The loss became infinite after {epochs_in_words(wrong[0])}; guessing has {guessing:.3g}."
    advice = _advice(lr=case.configuration.lr / 10) if wrong[0] else _advice(gain=case.configuration.gain / 1000)
    return Finding(Cause.DIVERGED, said, {"epoch": wrong[0]}, advice)


def loud(case: Case) -> Finding | None:
    """The outputs are so large from the start that the first thing to be learned is to be less sure."""
    before, guessing = case.first.before, math.log(case.configuration.classes)
    if not LOUD * guessing < before < math.inf:
        return None
    said = (
        f"The outputs are too large from the start: the loss begins at {before:.3g}, and guessing has {guessing:.3g}."
    )
    advice = _advice(gain=case.configuration.gain * guessing / before)
    return Finding(Cause.LOUD, said, {"loss": before, "guessing": guessing}, advice)


def hidden_outputs(case: Case) -> Finding | None:
    """The output layer cannot read the classes off the hidden layers as they begin: which of four reasons it is."""
    start, better = case.start, case.legible.look.readable
    if start.legible > UNREAD * start.shown or case.legible.look.legible < HELPS * start.legible:
        return None
    if not math.isfinite(case.first.before):  # nothing that was read is a number
        return None
    measured = vars(start) | {"readable_then": better}
    able = f"an update of the output layer could tell {_percent(start.readable)} of the samples"
    then = f"{_percent(better)} with {in_words(case.legible.params)}"
    then += ", and too few with any gain alone" if len(case.legible.params) > 1 else ""
    if start.silent >= SILENT or start.dead >= DEAD:
        cause = _flat(case)
        what = (
            f"{_percent(start.silent)} of the samples meet no unit that responds, {_percent(start.dead)} of a layer's"
        )
        said = f"From the start {what} units respond to none, and where none does no gradient passes"
    elif start.recalled >= UNREAD and start.readable < UNREAD * start.recalled * start.shown:
        cause = Cause.NOISE
        said = "Noise moves the hidden outputs as much as the class does"
        if "batch_sampling" in case.legible.params:
            said = (
                "Each batch of random classes is scaled by its own moments, so that a class comes differently each time"
            )
        said += f" (of the samples it has learned from it could tell {_percent(start.recalled)})"
    else:
        cause = Cause.COARSE
        said = f"{'Neighbouring classes' if case.learned is None else 'Classes'} look alike to the hidden units"
    return Finding(cause, f"{said}: {able}, {then}.", measured, _legible(case))


def fell_silent(case: Case) -> Finding | None:
    """Training saturated the units, or killed them."""
    start, end = case.start, case.end
    if max(end.silent - start.silent, end.dead - start.dead) < SILENT:
        return None
    before = f"{_percent(start.silent)} and {_percent(start.dead)} before"
    said = f"Training left {_percent(end.silent)} of the samples without a unit that responds, and {_percent(end.dead)}"
    said += f" of a layer's units without a sample ({before}): its steps are too large."
    measured = {"silent": end.silent, "dead": end.dead, "silent_before": start.silent, "dead_before": start.dead}
    return Finding(_flat(case), said, measured, _advice(lr=case.configuration.lr / 10))


def first_layer(case: Case) -> Finding | None:
    """The first update moves the first layer so far that what the others learned from it is worth nothing."""
    first, ratio = case.first, case.configuration.first_lr_ratio
    still = math.isfinite(first.frozen) and not first.frozen > WORTH * first.after  # also where `after` is no number
    if not STEADY < first.moved < math.inf or first.after < NEGLIGIBLE or not still:
        return None
    rate = case.configuration.lr * ratio
    said = (
        f"The first layer moves too fast: at a rate of {rate:.2g} on each of {case.inputs} inputs the first update "
        f"shifts what goes into its units by {first.moved:.2g}, and the loss is {first.after:.3g} where it would be "
        f"{first.frozen:.3g} with that layer left alone."
    )
    measured = {"moved": first.moved, "kept": first.kept, "loss": first.after, "loss_then": first.frozen}
    return Finding(Cause.FIRST_LAYER, said, measured, _advice(first_lr_ratio=ratio * STEADY / first.moved))


def too_high(case: Case) -> Finding | None:
    """A smaller first or last step of the layers after the first would have been a better one."""
    return _misjudged(case, Cause.TOO_HIGH, lambda scale: scale < 1)


def too_low(case: Case) -> Finding | None:
    """A larger first or last step of the layers after the first would have been a better one."""
    return _misjudged(case, Cause.TOO_LOW, lambda scale: scale > 1)


def _misjudged(case: Case, cause: Cause, wrong: Callable[[float], bool]) -> Finding | None:
    for which, step in (("first", case.first), ("last", case.last)):
        scale = _best_scale(step)
        if wrong(scale) and step.frozen > NEGLIGIBLE and step.scaled[scale] < WORTH * step.frozen:
            said = (
                f"The {cause}: with the first layer left alone, the {which} update takes the loss from "
                f"{step.before:.3g} to {step.frozen:.3g}, {scale:.3g} times that step to {step.scaled[scale]:.3g}."
            )
            return Finding(cause, said, _of_step(step, scale), _rate(case, scale))
    return None


def unsteady(case: Case) -> Finding | None:
    """The target was reached and lost, or the loss rose again from its least."""
    curve = case.curve
    least, last = min(curve.loss), curve.loss[-1]
    if case.reached is not None:
        lost = next(
            (a for e, a in zip(curve.epochs, curve.accuracy, strict=True) if e > case.reached and a < case.target), None
        )
        fell = "" if lost is None else f", then fell to {lost:.2f}"
        after = epochs_in_words(case.reached)
        said = f"It reached {case.target:g} after {after}{fell}: its steps are too large to stay there."
    elif case.epochs > 2 and last > ROSE * least:
        epoch = curve.epochs[list(curve.loss).index(least)]
        fell = f"The loss fell to {least:.3g} after {epochs_in_words(epoch)}"
        said = f"{fell} and rose to {last:.3g}: later steps are too large."
    else:
        return None
    return Finding(Cause.UNSTEADY, said, {"least_loss": least, "loss": last}, _advice(lr=0.3 * case.configuration.lr))


def not_shown(case: Case) -> Finding | None:
    """A batch of random classes leaves out many."""
    start = case.start
    if case.configuration.batch_sampling == "every_class" or start.shown > SHOWN:
        return None
    said = f"A batch of random classes shows {_percent(start.shown)} of those that come next: the others are guessed."
    return Finding(Cause.NOT_SHOWN, said, {"shown": start.shown}, {"batch_sampling": "every_class"})


def overfitted(case: Case) -> Finding | None:
    """What is learned is known far better than what is held out."""
    held_out = case.curve.accuracy[-1]
    if case.learned is None or case.learned - held_out < OVERFIT:
        return None
    said = f"It knows {_percent(case.learned)} of the training samples and {_percent(held_out)} of those held out."
    better = case.legible.look.readable > case.start.readable
    advice = _legible(case) if better else {"width": max(1, case.configuration.width // 4)}
    return Finding(Cause.OVERFITTED, said, {"learned": case.learned, "held_out": held_out}, advice)


def cut(case: Case) -> Finding | None:
    """It was compared away before it had come far enough."""
    if case.epochs >= case.max_epochs:
        return None
    said = f"The study stopped it after {epochs_in_words(case.epochs)}, of {case.max_epochs} at most."
    longer = min(case.max_epochs, max(FLOOR, LONGER * case.epochs))
    return Finding(Cause.CUT, said, {"epochs": case.epochs}, {"max_epochs": longer})


def improving(case: Case) -> Finding | None:
    """It used all its epochs and was still gaining at a steady pace."""
    accuracy, epochs, n = case.curve.accuracy, case.curve.epochs, len(case.curve.epochs)
    if case.epochs < case.max_epochs or n < 6:
        return None
    two_thirds, five_sixths = 2 * n // 3, 5 * n // 6
    before, after = accuracy[five_sixths] - accuracy[two_thirds], accuracy[-1] - accuracy[five_sixths]
    if after <= 0 or after < before * PACE:
        return None
    more = math.ceil((case.target - accuracy[-1]) * (epochs[-1] - epochs[five_sixths]) / after)
    if not 0 < more <= FAR * case.epochs:
        return None
    said = (
        f"It was still improving: accuracy rose from {accuracy[two_thirds]:.2f} to {accuracy[-1]:.2f} in the last "
        f"{epochs_in_words(epochs[-1] - epochs[two_thirds])}; at this pace it needs about {more} more."
    )
    measured = {"from": accuracy[two_thirds], "to": accuracy[-1], "more": more}
    return Finding(Cause.IMPROVING, said, measured, {"max_epochs": case.epochs + LONGER * more})


CAUSES: tuple[Callable[[Case], Finding | None], ...] = (
    diverged,
    hidden_outputs,
    loud,
    fell_silent,
    first_layer,
    too_high,
    too_low,
    unsteady,
    not_shown,
    overfitted,
    cut,
    improving,
)


def _flat(case: Case) -> Cause:
    """What units are called that do not respond: those of a rectifier are dead, the others have saturated."""
    return Cause.DEAD if case.configuration.activation in ("relu", "gelu", "silu") else Cause.SATURATED


def _best_scale(step: "UpdateEffect") -> float:
    """The smallest step that has most of the best one's gain; the smallest of all if none gains."""
    scaled = {scale: loss for scale, loss in step.scaled.items() if math.isfinite(loss)}
    best = min(scaled.values(), default=math.inf)
    if not best < step.before:
        return min(step.scaled)
    return min(scale for scale, loss in scaled.items() if loss <= step.before - ENOUGH * (step.before - best))


def _rate(case: Case, scale: float) -> dict[str, Any]:
    """So many times the learning rate, and the first layer as steady as where the step's loss was read: left alone."""
    moved = case.first.moved * scale
    ratio = case.configuration.first_lr_ratio * min(1.0, 1 / scale, STEADY / moved if moved > STEADY else 1.0)
    lower = {"first_lr_ratio": ratio} if ratio < case.configuration.first_lr_ratio else {}
    return _advice(lr=case.configuration.lr * scale, **lower)


def _advice(**params: float) -> dict[str, Any]:
    """Parameters within their limits, in as many digits as are told, so that exactly that is tried."""
    return {name: float(f"{PARAMETERS[name].nearest(value):.3g}") for name, value in params.items()}


def _legible(case: Case) -> dict[str, Any]:
    return dict(case.legible.params)


def _of_step(first: "UpdateEffect", scale: float) -> dict[str, float]:
    return {"before": first.before, "loss": first.frozen, "scale": scale, "loss_then": first.scaled[scale]}


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
