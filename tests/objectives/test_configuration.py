"""Configurations accept what can be trained and refuse the rest in one line that names the parameter."""

import math

import pytest

from objectives.configuration import Configuration
from objectives.model import activations, optimizers
from objectives.parameters import PARAMETERS

GOOD = {"classes": 8, "width": 4, "activation": "sine", "optimizer": "sgd", "lr": 0.1}


def test_round_trip_through_its_parameters() -> None:
    """A configuration is the same after a trip through its parameters."""
    made = Configuration.of({**GOOD, "hidden_layers": 2, "width_2": 3})
    assert Configuration.of(made.params) == made
    assert made.widths == (4, 3)


def test_batches_are_sampled_or_have_a_size() -> None:
    """A configuration for waves says how a batch is sampled, one for a data set how large it is."""
    waves, data = Configuration.of(GOOD), Configuration.of({**GOOD, "batch_size": 32})
    assert waves.in_words().endswith(", every class batches") and "batch_size" not in waves.params
    assert data.in_words().endswith(", batches of 32") and "batch_sampling" not in data.params
    assert Configuration.of(data.params) == data


def test_a_module_of_a_persons_own_has_arguments_of_its_own() -> None:
    """What is no parameter of training is its constructor's, of our network's too, and all are shown."""
    training = {"objective": "mynet:Net", "classes": 8, "optimizer": "sgd", "lr": 0.1}
    made = Configuration.of({**training, "width": 4, "dropout": 0.25, "norm": True})
    assert made.arguments == (("width", 4), ("dropout", 0.25), ("norm", True)) and made.width == 0
    assert Configuration.of(made.params) == made and "activation" not in made.params
    assert made.in_words() == "mynet:Net width 4 dropout 0.25 norm True, sgd lr 0.1, raw inputs, every class batches"
    for change, message in (
        ({"objective": "mynet"}, "must read MODULE:CLASS"),
        ({"dropout": math.nan}, "`dropout` must be a finite number"),
        ({"dropout": [1]}, "`dropout` must be a finite number"),
        ({"activation": "sinus"}, "did you mean 'sine'"),
    ):
        with pytest.raises(ValueError, match=message):
            Configuration.of(training | change)
    with pytest.raises(ValueError, match="lacks `lr`"):
        Configuration.of({"objective": "mynet:Net", "classes": 8, "optimizer": "sgd"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": math.nan}, "`lr` must be a number"),
        ({"lr": -1.0}, "`lr` must be a number"),
        ({"lr": "0.1"}, "`lr` must be a number"),
        ({"width": 2.5}, "`width` must be a whole number"),
        ({"width": True}, "`width` must be a whole number"),
        ({"classes": 1}, "`classes` must be a whole number from 2"),
        ({"activation": "sinus"}, "did you mean 'sine'"),
        ({"widht": 3}, "did you mean 'width'"),
        ({"width_2": 3}, "`width_2` is for"),
        ({"hidden_layers": 2}, "`width_2` is for"),
        ({"gain": math.inf}, "`gain` must be a number"),
        ({"batch_size": 0}, "`batch_size` must be a whole number from 1"),
        ({"batch_size": 8, "batch_sampling": "random"}, "`batch_sampling` is for waves"),
    ],
)
def test_refuses_what_cannot_be_trained(change: dict[str, object], message: str) -> None:
    """Each impossible value gets one line with the parameter's name."""
    with pytest.raises(ValueError, match=message) as refused:
        Configuration.of(GOOD | change)
    assert "\n" not in str(refused.value)


def test_names_what_is_missing() -> None:
    """A configuration without its necessary parameters names them."""
    with pytest.raises(ValueError, match=r"lacks `width`, `optimizer`"):
        Configuration.of({name: GOOD[name] for name in ("classes", "activation", "lr")})


def test_every_choice_has_a_formula() -> None:
    """The names that a space offers are exactly those that the trainers know."""
    assert set(activations.ACTIVATIONS) == set(PARAMETERS["activation"].choices)
    assert set(optimizers.RULES) == set(PARAMETERS["optimizer"].choices)
