"""A page of HTML with interactive plots that loads nothing: its looks, and its parts. Needs `autobss-zoo[plot]`."""

from __future__ import annotations

import html
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autobss_zoo.codes import Code
from autobss_zoo.files import write_atomically

from .html_plots import Figure, amount

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #222; --soft: #666; --line: #ddd; --paper: #fff; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #ddd; --soft: #999; --line: #3a3a3a; --paper: #181a1b; }} }}
* {{ box-sizing: border-box; }}
body {{
  margin: 0 auto; max-width: 72rem; padding: 1.5rem clamp(0.75rem, 3vw, 2.5rem) 4rem;
  color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, sans-serif;
}}
h1 {{ font-size: 1.6rem; margin: 0 0 1rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.15rem; margin: 2.5rem 0 0.25rem; }}
h3 {{ font-size: 1rem; margin: 1.25rem 0 0.25rem; }}
p {{ margin: 0.25rem 0 0.75rem; color: var(--soft); max-width: 48rem; }}
code {{ font: 0.9em ui-monospace, monospace; overflow-wrap: anywhere; }}
dl {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); gap: 0.9rem 1.5rem; }}
dl > :last-child {{ grid-column: 1 / -1; }}
dt {{ color: var(--soft); font-size: 0.85rem; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
.plot {{ height: 24rem; }}
.tall {{ height: 36rem; }}
.beside {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem; }}
.beside > * {{ min-width: 0; }}
.table {{ overflow: auto; max-height: 44rem; }}
table {{ border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.25rem 1.25rem 0.25rem 0; text-align: left; vertical-align: top; }}
td {{ border-top: 1px solid var(--line); white-space: pre-wrap; overflow-wrap: break-word; }}
th {{ color: var(--soft); font-weight: 500; position: sticky; top: 0; background: var(--paper); white-space: nowrap; }}
th.number, td.number {{ text-align: right; }}
td code {{ white-space: nowrap; }}
#trials td:last-child, #faults td:last-child {{ min-width: 18rem; }}
</style>
</head>
<body>
{body}
<script>{plotly}</script>
<script>
const font = {{ color: getComputedStyle(document.body).color, family: "system-ui, sans-serif", size: 12 }};
for (const place of document.querySelectorAll("div.plot")) {{
  const {{ data, layout }} = JSON.parse(place.textContent);
  place.replaceChildren();
  Plotly.newPlot(place, data, {{ ...layout, font }}, {{ displayModeBar: false, responsive: true }});
}}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => location.reload());
</script>
</body>
</html>
"""


def write_page(path: str | os.PathLike[str], title: str, parts: Iterable[str]) -> None:
    """Write a page of parts, under its title.

    Raises:
        OSError: If no file can be written at `path` (`files.check_output`).
    """
    from plotly.offline import get_plotlyjs

    name = html.escape(title)
    body = "\n".join((f"<h1>{name}</h1>", *parts))
    write_atomically(path, _PAGE.format(title=name, body=body, plotly=get_plotlyjs()).encode())


def terms(facts: Mapping[str, Any]) -> str:
    """Facts by what they are of; the last one over the whole width."""
    entries = (f"<div><dt>{term}</dt><dd>{shown(fact)}</dd></div>" for term, fact in facts.items())
    return f"<dl>{''.join(entries)}</dl>"


def section(title: str, note: str, *parts: str) -> str:
    """A section of a page; title and note are HTML."""
    return f"<h2>{title}</h2>\n" + (f"<p>{note}</p>\n" if note else "") + "\n".join(parts)


def heading(title: str) -> str:
    """A heading within a section."""
    return f"<h3>{title}</h3>"


def drawn(id: str, figure: Figure, kind: str = "plot") -> str:
    """A figure of plotly's as plain values, which the page draws."""
    data = json.dumps(figure, separators=(",", ":")).replace("<", "\\u003c")  # no text ends the script
    return f'<div id="{id}" class="{kind}"><script type="application/json">{data}</script></div>'


def table(id: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of at least one row; numbers stand to the right."""
    top = "".join(f"<th{_side(value)}>{html.escape(head)}</th>" for head, value in zip(heads, rows[0], strict=True))
    lines = ("".join(f"<td{_side(value)}>{shown(value)}</td>" for value in row) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="table"><table id="{id}">\n<thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody>\n</table></div>'


def _side(value: Any) -> str:
    return ' class="number"' if isinstance(value, (int, float)) else ""


def shown(value: Any) -> str:
    """A value as HTML."""
    if isinstance(value, (int, float)):
        return amount(value)
    text = html.escape("" if value is None else str(value))
    return f"<code>{text}</code>" if isinstance(value, Code) else text


def moment(seconds: float) -> str:
    """A time in seconds since the epoch, in the local zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def duration(seconds: float) -> str:
    """Seconds for people."""
    minutes, hours = seconds / 60, seconds / 3600
    return (
        f"{hours:,.1f} hours" if hours >= 1 else f"{minutes:.1f} minutes" if minutes >= 1 else f"{seconds:.1f} seconds"
    )
