"""The space draws configurations that can be trained, and holds the page's two models."""

import optuna
import pytest
from optuna.trial import FixedTrial

from objectives.configuration import Configuration
from search.spec.space import Choices, Range, defaults, distributions, preset, suggest


@pytest.mark.parametrize("classes", [2, 32, 256, 1024])
def test_every_draw_is_a_configuration(classes: int) -> None:
    """Random draws are valid, and have a second width exactly with a second layer."""
    space = {"classes": Choices(values=(classes,)), **defaults(classes)}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = [suggest(space, study.ask()) for _ in range(100)]
    for params in drawn:
        made = Configuration.of(params)
        assert ("width_2" in params) == (made.hidden_layers == 2) and made.classes == classes
    for name, dimension in space.items():
        if isinstance(dimension, Choices):
            assert {params[name] for params in drawn} == set(dimension.values)


@pytest.mark.parametrize("name", ["question", "answer"])
@pytest.mark.parametrize("classes", [32, 256, 1024])
def test_the_pages_models_lie_in_the_space(name: str, classes: int) -> None:
    """Both presets are points of the default space for their class count."""
    params = preset(name, classes).params
    space = {"classes": Choices(values=(classes,)), **defaults(classes)}
    fixed = FixedTrial(params)
    assert suggest(space, fixed) == params
    assert distributions(space, params) == fixed.distributions
    for parameter, distribution in fixed.distributions.items():
        assert distribution._contains(distribution.to_internal_repr(params[parameter]))


def test_presets_are_what_the_page_describes() -> None:
    """Dense(C) → Dense(2C) sigmoid with RMSprop 1e-3, and Dense(8C) sigmoid on normalised inputs."""
    question, answer = preset("question", 256), preset("answer", 256)
    assert (question.widths, question.activation, question.optimizer, question.lr) == (
        (256, 512),
        "sigmoid",
        "rmsprop",
        1e-3,
    )
    assert (answer.widths, answer.activation, answer.scaling) == ((2048,), "sigmoid", "fixed")
    with pytest.raises(ValueError, match="did you mean 'question'"):
        preset("questoin", 256)


def test_a_fixed_depth_drops_the_second_width() -> None:
    """With one layer fixed, no draw has a second width."""
    space = {"classes": Choices(values=(8,)), **defaults(8), "hidden_layers": Choices(values=(1,))}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    assert all("width_2" not in suggest(space, study.ask()) for _ in range(20))
    assert isinstance(space["lr"], Range)
