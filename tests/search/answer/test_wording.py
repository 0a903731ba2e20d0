"""Answers in words."""

from search.answer.wording import outlook
from search.query.records import ClassCount


def outlook_of(epochs: int, equalled: int, since: int, trials: int) -> str:
    """The outlook at a class count whose best was found `since` trials ago, and equalled so many times."""
    count = ClassCount(classes=8, trials=trials, converged=equalled + 1, epochs=epochs, equalled=equalled, since=since)
    return outlook(count)


def test_the_outlook_says_what_it_rests_on() -> None:
    """Nothing beats one epoch; else many equals and a quiet half make an improvement unlikely."""
    assert outlook_of(1, 0, 0, 5) == "1 epoch is the least there is: more trials cannot improve on it"
    assert "unlikely" in outlook_of(4, 30, 400, 600)
    assert all("may improve" in outlook_of(4, *rest) for rest in ((3, 400, 600), (30, 200, 600)))
