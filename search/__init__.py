"""What to try next, when to stop trying it, and what has been found: spec → ask → train → tell → store → query.

Answers are for Python, too: `search.best()`, `search.trials()`, `search.status()`.
"""

from search.api import best, frame, status, trials

__all__ = ["best", "frame", "status", "trials"]
