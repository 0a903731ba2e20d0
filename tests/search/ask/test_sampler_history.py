"""What a sampler sees of a study."""

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from search.ask.sampler_history import GROUP, SamplerHistory


def told(study: optuna.Study, group: int, value: float) -> None:
    """Add a finished trial."""
    distributions = {"x": FloatDistribution(0, 1)}
    study.add_trial(
        create_trial(params={"x": 0.5}, distributions=distributions, value=value, user_attrs={GROUP: group})
    )


def test_values_of_several_groups_are_places_in_their_own() -> None:
    """The best of each is 0 and the worst 1, however different their values; with one group they stay."""
    study = optuna.create_study(storage=SamplerHistory())
    for value in (1.0, 2.0, 5.0):
        told(study, 8, value)
    assert [trial.value for trial in study.trials] == [1.0, 2.0, 5.0]
    for value in (300.0, 500.0, 400.0):
        told(study, 1024, value)
    assert [trial.value for trial in study.trials] == [0.0, 0.25, 1.0, 0.0, 1.0, 0.5]
