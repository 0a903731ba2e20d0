"""What to try next, when to stop trying it, and what has been found: spec → ask → train → tell → store → query.

Answers are for Python, too: `search.best()`, `search.trials()`, `search.status()`, and `search.connect(url)`.
"""

from search.client import best, connect, frame, status, trials

__all__ = ["best", "connect", "frame", "status", "trials"]
