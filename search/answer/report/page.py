"""The report's page: one HTML file that needs nothing but itself, which its content policy makes sure of.

Figures are Plotly's JSON in light colours. The script draws them, and again in dark ones when the reader's scheme is or
becomes dark. Every text that comes from a study is escaped here.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from string import Template

from search.answer.report.figures import DARK, FAINT, GRID, INK, PAPER, SERIES, Exhibit

_NAMES = {"ink": INK, "faint": FAINT, "grid": GRID, "paper": PAPER, "accent": SERIES[0]}
_STYLE = Template("""
:root { color-scheme: light dark; $light }
@media (prefers-color-scheme: dark) { :root { $dark } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1360px; margin: 0 auto; padding: 12px 16px 48px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 12px 0 4px; }
h2 { font-size: 1.25rem; margin: 40px 0 4px; padding-top: 12px; border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 0; }
p { margin: 4px 0 8px; max-width: 75ch; overflow-wrap: anywhere; }
.lead { font-weight: 650; margin: 14px 0 0; }
.faint, td { color: var(--faint); }
.grid { display: grid; gap: 20px 28px; }
.grid.many { grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); }
figure { margin: 8px 0 0; min-width: 0; max-width: 1000px; }
.wide { max-width: none; }
figcaption p { font-size: .9rem; line-height: 1.4; margin: 2px 0 0; }
.many figcaption { min-height: 4.4em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin-top: 12px; }
th, td { text-align: left; vertical-align: top; padding: 4px 16px 4px 0; border-bottom: 1px solid var(--grid); }
th, td:first-child { white-space: nowrap; }
td:nth-child(n + 3) { min-width: 9em; }  /* a table of many columns is scrolled, not squeezed */
code { font-size: .95em; }
""")
_SCRIPT = """
const read = id => JSON.parse(document.getElementById(id).textContent);
const figures = read("figures"), dark = read("dark");
const scheme = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  for (const [name, figure] of Object.entries(figures)) {
    const text = JSON.stringify(figure);
    const {data, layout} = JSON.parse(scheme.matches ? text.replace(/#[0-9a-f]{6}/g, hex => dark[hex] ?? hex) : text);
    Plotly.react(name, data, layout, {responsive: true, displaylogo: false, displayModeBar: false});
  }
}
scheme.addEventListener("change", draw);
draw();
"""
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$lead
<noscript><p class="lead">The figures are drawn by a script in this file: switch JavaScript on.</p></noscript>
$sections
</main>
<script type="application/json" id="figures">$figures</script>
<script type="application/json" id="dark">$dark</script>
<script>$plotly</script>
<script>$script</script>
</body>
</html>
""")


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    #: How it is to be read: plain text, a paragraph each.
    about: Sequence[str]
    exhibits: Sequence[Exhibit] = ()
    #: Rows of cells, the first of them the heads.
    table: Sequence[Sequence[str]] = field(default_factory=list)


def page(title: str, lead: Sequence[Sequence[str]], sections: Sequence[Section]) -> str:
    """The whole file. `lead` is what was found: of each statement a line, and lines of detail below it."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    figures = ",".join(f'"{each.name}":{each.figure.to_json()}' for part in sections for each in part.exhibits)
    return _PAGE.substitute(
        title=escape(title),
        style=_STYLE.substitute(light=_variables(lambda hex: hex), dark=_variables(DARK.__getitem__)),
        lead="\n".join(_statement(*said) for said in lead),
        sections="\n".join(map(_section, sections)),
        figures=f"{{{figures}}}".replace("<", "\\u003c"),  # no text in it can end the script element
        dark=json.dumps(DARK),
        plotly=get_plotlyjs(),
        script=_SCRIPT,
    )


def _variables(colour: Callable[[str], str]) -> str:
    return " ".join(f"--{name}: {colour(hex)};" for name, hex in _NAMES.items())


def _statement(said: str, *details: str) -> str:
    below = "".join(f'<p class="faint">{escape(detail)}</p>' for detail in details)
    return f'<p class="lead">{escape(said)}</p>{below}'


def _section(part: Section) -> str:
    about = "".join(f'<p class="faint">{_marked(line)}</p>' for line in part.about)
    many = len(part.exhibits) > 1
    exhibits = "".join(_exhibit(each, many) for each in part.exhibits)
    grid = f'<div class="grid{" many" if many else ""}">{exhibits}</div>' if exhibits else ""
    return f"<section><h2>{escape(part.title)}</h2>{about}{grid}{_table(part.table)}</section>"


def _marked(text: str) -> str:
    """Escaped, with what stands in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _exhibit(each: Exhibit, many: bool) -> str:
    """A figure below what it says; alone in its section it needs no title."""
    title = f"<h3>{escape(each.title)}</h3>" if many else ""
    wide, least = (' class="wide"', f' style="min-width: {each.least_width}px"') if each.least_width else ("", "")
    return (
        f"<figure{wide}><figcaption>{title}<p>{escape(each.finding)}</p></figcaption>"
        f'<div class="scroll"><div class="plot" id="{each.name}"{least}></div></div></figure>'
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    heads, *body = (
        "".join(f"<t{'d' if i else 'h'}>{escape(cell)}</t{'d' if i else 'h'}>" for cell in row)
        for i, row in enumerate(rows)
    )
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
