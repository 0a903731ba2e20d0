"""What can hold a trial back: each cause with its criterion, what was measured, and what to change.

A cause is a function of a missed trial, that is of its curve and of what `objectives.probe` measured while it was
trained again; it answers with a finding or None. The thresholds were set on misses of real studies, by whether the
advice helps when it is followed (`python -m tests.bench.advice`).
"""

import math
from collections.abc import Callable
from functools import partial

from objectives.parameters import PARAMETERS, Params
from objectives.probe import UpdateEffect
from search.answer.why.miss_diagnosis import Cause, Finding, MissedTrial, in_words
from search.answer.wording import epochs
from search.ask.stopping import FLOOR

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


def diverged(miss: MissedTrial) -> Finding | None:
    """The loss became infinite, or no number: through the steps, or from the start through the inputs."""
    configuration, guessing = miss.trial.configuration, math.log(miss.trial.configuration.classes)
    losses = zip(miss.curve.epochs, miss.curve.loss, strict=True)
    wrong = next((epoch for epoch, loss in losses if not math.isfinite(loss)), None)
    if wrong is None:
        return None
    sentence = f"The loss became infinite after {epochs(wrong)}; guessing has {guessing:.3g}."
    advice = _advice(lr=configuration.lr / 10) if wrong else _advice(gain=configuration.gain / 1000)
    return Finding(Cause.DIVERGED, sentence, {"epoch": wrong}, advice)


def loud(miss: MissedTrial) -> Finding | None:
    """The outputs are so large from the start that the first thing to be learned is to be less sure."""
    before, guessing = miss.first.before, math.log(miss.trial.configuration.classes)
    if not LOUD * guessing < before < math.inf:
        return None
    sentence = f"The outputs begin too large: the loss is {before:.3g} at the start, and guessing has {guessing:.3g}."
    advice = _advice(gain=miss.trial.configuration.gain * guessing / before)
    return Finding(Cause.LOUD, sentence, {"loss": before, "guessing": guessing}, advice)


def hidden_outputs(miss: MissedTrial) -> Finding | None:
    """The output layer cannot read the classes off the hidden layers as they begin: which of four reasons it is."""
    start, better, change = miss.start, miss.legible.snapshot, miss.legible.params
    helps = start.legible <= UNREAD * start.shown and better.legible >= HELPS * start.legible
    if not (helps and math.isfinite(miss.first.before)):  # else nothing that was read is a number
        return None
    if start.silent >= SILENT or start.dead >= DEAD:
        cause = _unresponsive(miss)
        why = f"From the start {_percent(start.silent)} of the samples meet no unit that responds, "
        why += f"{_percent(start.dead)} of a layer's units respond to none, and where none does no gradient passes"
    elif start.recalled >= UNREAD and start.readable < UNREAD * start.recalled * start.shown:
        cause, why = Cause.NOISE, "Noise moves the hidden outputs as much as the class does"
        if "batch_sampling" in change:
            why = "Each batch of random classes is scaled by its own moments, so a class comes differently each time"
        why += f" (of the samples it has learned from it could tell {_percent(start.recalled)})"
    else:
        cause = Cause.COARSE
        why = f"{'Neighbouring classes' if miss.learned is None else 'Classes'} look alike to the hidden units"
    sentence = f"{why}: an update of the output layer could tell {_percent(start.readable)} of the samples, "
    sentence += f"{_percent(better.readable)} with {in_words(change)}"
    sentence += ", and too few with any gain alone." if len(change) > 1 else "."
    return Finding(cause, sentence, vars(start) | {"readable_then": better.readable}, dict(change))


def fell_silent(miss: MissedTrial) -> Finding | None:
    """Training saturated the units, or killed them."""
    start, end = miss.start, miss.end
    if max(end.silent - start.silent, end.dead - start.dead) < SILENT:
        return None
    sentence = f"Training left {_percent(end.silent)} of the samples without a unit that responds, and "
    sentence += f"{_percent(end.dead)} of a layer's units without a sample ({_percent(start.silent)} and "
    sentence += f"{_percent(start.dead)} before): its steps are too large."
    measured = {"silent": end.silent, "dead": end.dead, "silent_before": start.silent, "dead_before": start.dead}
    return Finding(_unresponsive(miss), sentence, measured, _advice(lr=miss.trial.configuration.lr / 10))


def first_layer(miss: MissedTrial) -> Finding | None:
    """The first update moves the first layer so far that what the others learned from it is worth nothing."""
    first, configuration = miss.first, miss.trial.configuration
    still = math.isfinite(first.frozen) and not first.frozen > WORTH * first.after  # also where `after` is no number
    if not STEADY < first.moved < math.inf or first.after < NEGLIGIBLE or not still:
        return None
    ratio = configuration.first_lr_ratio
    sentence = (
        f"The first layer moves too fast: at a rate of {configuration.lr * ratio:.2g} on each of {miss.spec.inputs} "
        f"inputs the first update shifts what goes into its units by {first.moved:.2g}, and the loss is "
        f"{first.after:.3g} where it would be {first.frozen:.3g} with that layer left alone."
    )
    measured = {"moved": first.moved, "kept": first.kept, "loss": first.after, "loss_then": first.frozen}
    return Finding(Cause.FIRST_LAYER, sentence, measured, _advice(first_lr_ratio=ratio * STEADY / first.moved))


def misjudged(cause: Cause, miss: MissedTrial) -> Finding | None:
    """A smaller, or larger, first or last step of the layers after the first would have been a better one."""
    for name, step in (("first", miss.first), ("last", miss.last)):
        scale = _best_scale(step)
        wrong = scale < 1 if cause is Cause.TOO_HIGH else scale > 1
        before, loss, better = step.before, step.frozen, step.scaled[scale]
        if wrong and loss > NEGLIGIBLE and better < WORTH * loss:
            sentence = f"The {cause}: with the first layer left alone, the {name} update takes the loss from "
            sentence += f"{before:.3g} to {loss:.3g}, {scale:.3g} times that step to {better:.3g}."
            measured = {"before": before, "loss": loss, "scale": scale, "loss_then": better}
            return Finding(cause, sentence, measured, _rate(miss, scale))
    return None


def unsteady(miss: MissedTrial) -> Finding | None:
    """The target was reached and lost, or the loss rose again from its least."""
    curve, target = miss.curve, miss.spec.target
    least, last = min(curve.loss), curve.loss[-1]
    if miss.reached is not None:
        later = (a for e, a in zip(curve.epochs, curve.accuracy, strict=True) if e > miss.reached)
        lost = next((f", then fell to {accuracy:.2f}" for accuracy in later if accuracy < target), "")
        sentence = f"It reached {target:g} after {epochs(miss.reached)}{lost}: its steps are too large to stay there."
    elif miss.epochs > 2 and last > ROSE * least:
        fell = f"The loss fell to {least:.3g} after {epochs(curve.epochs[list(curve.loss).index(least)])}"
        sentence = f"{fell} and rose to {last:.3g}: later steps are too large."
    else:
        return None
    advice = _advice(lr=0.3 * miss.trial.configuration.lr)
    return Finding(Cause.UNSTEADY, sentence, {"least_loss": least, "loss": last}, advice)


def not_shown(miss: MissedTrial) -> Finding | None:
    """A batch of random classes leaves out many."""
    shown = miss.start.shown
    if miss.trial.configuration.batch_sampling == "every_class" or shown > SHOWN:
        return None
    sentence = f"A batch of random classes shows {_percent(shown)} of those that come next: the others are guessed."
    return Finding(Cause.NOT_SHOWN, sentence, {"shown": shown}, {"batch_sampling": "every_class"})


def overfitted(miss: MissedTrial) -> Finding | None:
    """What is learned is known far better than what is held out."""
    held_out = miss.curve.accuracy[-1]
    if miss.learned is None or miss.learned - held_out < OVERFIT:
        return None
    sentence = f"It knows {_percent(miss.learned)} of the training samples and {_percent(held_out)} of those held out."
    better = miss.legible.snapshot.readable > miss.start.readable
    advice = dict(miss.legible.params) if better else {"width": max(1, miss.trial.configuration.width // 4)}
    return Finding(Cause.OVERFITTED, sentence, {"learned": miss.learned, "held_out": held_out}, advice)


def cut(miss: MissedTrial) -> Finding | None:
    """It was compared away before it had come far enough."""
    most = miss.spec.max_epochs
    if miss.epochs >= most:
        return None
    sentence = f"The study stopped it after {epochs(miss.epochs)}, of {most} at most."
    longer = min(most, max(FLOOR, LONGER * miss.epochs))
    return Finding(Cause.CUT, sentence, {"epochs": miss.epochs}, {"max_epochs": longer})


def improving(miss: MissedTrial) -> Finding | None:
    """It used all its epochs and was still gaining at a steady pace."""
    at, n = miss.curve.epochs, len(miss.curve.epochs)
    if miss.epochs < miss.spec.max_epochs or n < 6:
        return None
    start, middle, end = (miss.curve.accuracy[i] for i in (2 * n // 3, 5 * n // 6, -1))
    if end <= middle or end - middle < (middle - start) * PACE:
        return None
    more = math.ceil((miss.spec.target - end) * (at[-1] - at[5 * n // 6]) / (end - middle))
    if not 0 < more <= FAR * miss.epochs:
        return None
    sentence = f"It was still improving: accuracy rose from {start:.2f} to {end:.2f} in the last "
    sentence += f"{epochs(at[-1] - at[2 * n // 3])}; at this pace it needs about {more} more."
    longer = {"max_epochs": miss.epochs + LONGER * more}
    return Finding(Cause.IMPROVING, sentence, {"from": start, "to": end, "more": more}, longer)


#: Each is asked and the advice that helps most is told; the order decides between equals and where none helps.
CAUSES: tuple[Callable[[MissedTrial], Finding | None], ...] = (
    diverged, hidden_outputs, loud, fell_silent, first_layer, partial(misjudged, Cause.TOO_HIGH),
    partial(misjudged, Cause.TOO_LOW), unsteady, not_shown, overfitted, cut, improving,
)  # fmt: skip


def _unresponsive(miss: MissedTrial) -> Cause:
    """What units are called that do not respond: those of a rectifier are dead, the others have saturated."""
    return Cause.DEAD if miss.trial.configuration.activation in ("relu", "gelu", "silu") else Cause.SATURATED


def _best_scale(step: UpdateEffect) -> float:
    """The smallest step that has most of the best one's gain; the smallest of all if none gains."""
    scaled = {scale: loss for scale, loss in step.scaled.items() if math.isfinite(loss)}
    best = min(scaled.values(), default=math.inf)
    if not best < step.before:
        return min(step.scaled)
    return min(scale for scale, loss in scaled.items() if loss <= step.before - ENOUGH * (step.before - best))


def _rate(miss: MissedTrial, scale: float) -> Params:
    """So many times the learning rate, and the first layer as steady as where the step's loss was read: left alone."""
    configuration, moved = miss.trial.configuration, miss.first.moved * scale
    ratio = configuration.first_lr_ratio * min(1.0, 1 / scale, STEADY / moved if moved > STEADY else 1.0)
    return _advice(
        lr=configuration.lr * scale, **{"first_lr_ratio": ratio} if ratio < configuration.first_lr_ratio else {}
    )


def _advice(**params: float) -> Params:
    """Parameters within their limits, in as many digits as are told, so that exactly that is tried."""
    return {name: float(f"{PARAMETERS[name].nearest(value):.3g}") for name, value in params.items()}


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
