"""Pages of the service's own, each under a policy that lets nothing run or load but what it names."""

import secrets
from collections.abc import Mapping

from starlette.responses import HTMLResponse

from search.templates import environment

_TEMPLATES = environment("search.serve", html=True)
_POLICY = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "


def html_response(
    template: str, allowed: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: str
) -> HTMLResponse:
    """A page made from a template; `allowed` is the rest of its policy, with `{nonce}` for what stands in the page."""
    nonce = secrets.token_urlsafe(16)
    content = _TEMPLATES.get_template(template).render(nonce=nonce, **values)
    policy = _POLICY + allowed.format(nonce=f"'nonce-{nonce}'")
    return HTMLResponse(content, status, {"Content-Security-Policy": policy, **(headers or {})})
