"""What SIGINT and SIGTERM do while something runs that must not be cut off."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def handling(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` at either signal, in place of what they did before."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda _number, _frame: handle()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
