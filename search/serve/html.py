"""Pages of the service's own, each under a policy that lets nothing else run."""

import base64
import hashlib
import html
from collections.abc import Mapping

from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 0 auto; padding: 1.5rem; max-width: 60rem; background: Canvas; color: CanvasText }
h1 { font-size: 1.5rem; line-height: 1.25 }
form { max-width: 22rem }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit }
input, button { padding: .6rem; margin-top: .5rem; border: 1px solid GrayText; border-radius: .3rem }
button { margin-top: 1rem; font-weight: 600; cursor: pointer }
[role=alert] { margin: 0 0 1rem; padding: .6rem; border-left: .3rem solid #c22 }
"""
_SWAGGER = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true})'
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>{head}</head>
<body>{body}</body>
</html>
"""
_POLICY = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "


def html_response(title: str, body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """A page without scripts, whose `body` is HTML already."""
    content = _PAGE.format(title=html.escape(title), head=f"<style>{_STYLE}</style>", body=f"<main>{body}</main>")
    policy = f"{_POLICY}style-src {_hash(_STYLE)}"
    return HTMLResponse(content, status, {"Content-Security-Policy": policy, **(headers or {})})


def swagger_ui(title: str, files: str) -> HTMLResponse:
    """The API docs: Swagger UI, whose files are under the path `files`, of `/openapi.json`."""
    head = f'<link rel="stylesheet" href="{files}/swagger-ui.css"><link rel="icon" href="data:,">'
    scripts = f'<script src="{files}/swagger-ui-bundle.js"></script><script>{_SWAGGER}</script>'
    content = _PAGE.format(title=html.escape(title), head=head, body=f'<div id="swagger-ui"></div>{scripts}')
    sources = f"script-src 'self' {_hash(_SWAGGER)}; style-src 'self'; img-src data:; connect-src 'self'"
    return HTMLResponse(content, headers={"Content-Security-Policy": _POLICY + sources})


def _hash(inline: str) -> str:
    """What a policy calls a script or style that stands in the page itself."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"
