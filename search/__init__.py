"""What to try next, when to stop trying it, and what has been found. Data flows one way through these folders:

spec    what a study is: its space, its data, its target, read from options, Python or JSON, and parsed once
ask     what to try next, how long, and what a trial is worth
train   workers and engines: trials are trained and told; a trial replayed or one configuration trained alone
query   what the store knows, as typed records
answer  what that means, for people: report, why, ladder, export
serve   the same over HTTP, and a dashboard
cli     the `fewest` command
"""
