"""A real browser, for what people look at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
_there = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM} to look at it with")


def needs_a_browser(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test as one that a browser is needed for, which takes seconds to start."""
    return pytest.mark.slow(_there(test))


@contextmanager
def browser(*options: str) -> Iterator[Any]:
    """One without a network beyond this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright to open it with")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", *options]
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield found
        found.close()
