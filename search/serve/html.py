"""A page of the service's own: HTML and its style in one answer, and a policy under which nothing else would run."""

import base64
import hashlib
import html
from collections.abc import Mapping

from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 0 auto; padding: 1.5rem; max-width: 60rem; background: Canvas; color: CanvasText }
h1, h2 { line-height: 1.25 } h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
code, h2 { font-family: ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0 }
form { max-width: 22rem }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit }
input, button { padding: .6rem; margin-top: .5rem; border: 1px solid GrayText; border-radius: .3rem }
button { margin-top: 1rem; font-weight: 600; cursor: pointer }
[role=alert] { margin: 0 0 1rem; padding: .6rem; border-left: .3rem solid #c22 }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>{body}</main></body>
</html>
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def html_response(title: str, body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """A page whose `body` is HTML already."""
    content = _PAGE.format(title=html.escape(title), style=_STYLE, body=body)
    return HTMLResponse(content, status, {"Content-Security-Policy": _POLICY, **(headers or {})})
