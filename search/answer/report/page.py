"""The report's page: one HTML file that needs nothing but itself, which its content policy makes sure of.

Figures are Plotly's JSON in light colours. The page's script draws them, and again in dark ones when the reader's
scheme is or becomes dark. The template escapes every text that comes from a study.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from search import templates
from search.answer.report.figures import DARK, FAINT, GRID, INK, PAPER, Exhibit


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    #: How it is to be read: plain text, a paragraph each; what stands in backticks is shown as code.
    about: Sequence[str]
    #: Figures, below what they say; one that is alone has the section's title.
    exhibits: Sequence[Exhibit] = ()
    #: Rows of cells, the first of them the heads.
    table: Sequence[Sequence[str]] = ()


def page(title: str, lead: Sequence[Sequence[str]], sections: Sequence[Section]) -> str:
    """The whole file. `lead` is what was found: of each statement a line, and lines of detail below it."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    environment = templates.environment("search.answer.report", html=True)
    environment.filters["with_code"] = _with_code
    figures = ",".join(f'"{each.name}":{each.figure.to_json()}' for part in sections for each in part.exhibits)
    return environment.get_template("page.html.jinja").render(
        title=title,
        lead=lead,
        sections=sections,
        colours={"ink": INK, "faint": FAINT, "grid": GRID, "paper": PAPER},
        dark=DARK,
        figures=f"{{{figures}}}".replace("<", "\\u003c"),  # no text in it can end the script element
        plotly=get_plotlyjs(),
    )


def _with_code(text: str) -> str:
    """The text as HTML, with what stands in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
