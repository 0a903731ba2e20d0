"""What to try next, when to stop trying it, and what has been found: spec → ask → train → tell → store → query."""
