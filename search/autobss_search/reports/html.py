"""What a study found, as one HTML file with interactive plots that loads nothing. Needs `autobss-zoo[plot]`."""

from __future__ import annotations

import html
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from autobss_zoo.codes import Code
from autobss_zoo.cost import Setting
from autobss_zoo.families import FAMILIES
from autobss_zoo.files import write_atomically

from ..searchers import Searcher
from ..studies.journal import Entry, status
from ..studies.records import Record
from . import html_plots as plots
from .html_plots import Figure, amount
from .plots import LEAST, refiner, refining_pairs
from .report import front, ranked, rounds

_LISTED = 500  # faults and failed trials
_OUTCOMES = {"complete": "scored", "failed": "failed", "waiting": "waiting"}

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


def write_html(
    path: str | os.PathLike[str],
    name: str,
    searcher: Searcher,
    records: Sequence[Record],
    journal: Sequence[Entry],
    answer: Code | None,
    planned: int,
    setting: Setting | None,
) -> None:
    """Write a study's report, also while its driver runs.

    Args:
        path: The file to write.
        name: Of the study.
        searcher: The study's; not asked or told anything.
        records: The trials.
        journal: The journal's lines; they may be none.
        answer: What the searcher recommends; None while there is no score.
        planned: Trials of all rounds together.
        setting: What the codes' networks are counted with; the family's own when None.

    Raises:
        OSError: If no file can be written at `path` (`files.check_output`).
    """
    from plotly.offline import get_plotlyjs

    body = [
        f"<h1>{html.escape(name)}</h1>",
        _facts(searcher, records, journal, answer, planned),
        _history(records, searcher.direction),
        _trade_off(records, searcher),
        _allocation(records, searcher, answer, setting),
        _refining(records, searcher),
        _rounds(records, searcher.direction),
        _best(records, searcher.direction, answer),
        _faults(records, journal),
    ]
    page = _PAGE.format(title=html.escape(name), body="\n".join(body), plotly=get_plotlyjs())
    write_atomically(path, page.encode())


def _facts(
    searcher: Searcher, records: Sequence[Record], journal: Sequence[Entry], answer: Code | None, planned: int
) -> str:
    settings, space = searcher.settings(), searcher.space
    states = Counter(r.state for r in records if r.round >= 0)
    counts = ", ".join(f"{states[state]:,} {word}" for state, word in _OUTCOMES.items())
    known = sum(r.round < 0 for r in records)
    best = ranked(records, searcher.direction)[:1]
    preset = f", preset {settings['preset']}" if "preset" in settings else ""
    facts = {
        "Searcher": f"{settings['searcher']}{preset}, seed {searcher.seed}",
        "Space": f"{space.family}, {space.size:,} codes before the budget",
        "Budget": "; ".join(f"{c.name} {c.range}" for c in space.constraints) or "none",
        "Trials": f"{counts} of {planned:,}" + (f"; {known:,} known before" if known else ""),
        "Best score": f"{amount(best[0].value)} (trial {best[0].number})" if best else "none yet",  # type: ignore[arg-type]
        "Training in all": _duration(sum(r.seconds or 0 for r in records)),
        "Driver": _driver(journal),
        "The searcher's answer": answer or "none yet",
    }
    entries = (f"<div><dt>{term}</dt><dd>{_shown(fact)}</dd></div>" for term, fact in facts.items())
    return f"<dl>{''.join(entries)}</dl>"


def _driver(journal: Sequence[Entry]) -> str:
    now = status(journal)
    if now.driver is None:
        return "not known: there is no journal"
    if now.ended is not None:
        return f"{now.ended.text}, {_moment(now.ended.time)}"
    return f"{'killed; began' if now.killed else 'running since'} {_moment(now.driver.time)} ({now.driver.where})"


def _history(records: Sequence[Record], direction: str) -> str:
    if all(r.state == "waiting" for r in records):
        return _section("History", "No trial has ended yet.")
    note = "Hover for a trial's code. A click in the legend hides; dragging enlarges, a double click resets."
    return _section("History", note, _plot("history", plots.history(records, direction)))


def _trade_off(records: Sequence[Record], searcher: Searcher) -> str:
    title = "Cost and score"
    if not searcher.space.constraints:
        return _section(title, "The space has no budget, so that trials have no cost.")
    if all(r.value is None for r in records):
        return _section(title, "No trial has a score yet.")
    note = "On the Pareto front are the codes that none beats at their cost or less."
    answers = front(searcher, records)
    if answers:
        note += " The searcher's front is that of the scores as it judges them, without their luck."
    constraints = sorted(searcher.space.constraints, key=lambda c: c.name != searcher.cost)  # the objective first
    parts = [_plot("cost", plots.trade_off(records, constraints, searcher.direction, answers))]
    if answers:
        heads = ["code", "score", "round", "trial", *answers[0].costs]
        rows = [[r.code, r.value, r.round + 1, str(r.number), *r.costs.values()] for r in answers]
        parts += [
            _heading("The searcher's front: score and " + html.escape(str(searcher.cost))),
            _table("front", heads, rows),
        ]
    return _section(title, note, *parts)


def _allocation(records: Sequence[Record], searcher: Searcher, answer: Code | None, setting: Setting | None) -> str:
    title, family = "Allocation of the best codes", FAMILIES.get(searcher.space.family)
    best = [r.code for r in ranked(records, searcher.direction)[:3]]
    if not best:
        return _section(title, "No trial has a score yet.")
    codes = dict(zip(("best", "second", "third"), best, strict=False))
    if answer is not None:
        codes = {f"{place} (answer)" if code == answer else place: code for place, code in codes.items()}
        codes |= {} if answer in best else {"answer": answer}
    if family is None:
        note = "The elements of the codes with the best scores."
        return _section(title, note, _plot("allocation", plots.elements(codes)))
    codes["hand-made"] = Code(family.name, family.original)
    note = "How the networks with the best scores spend their budget on the stages."
    return _section(title, note, _plot("allocation", plots.allocation(family, codes, setting), "plot tall"))


def _refining(records: Sequence[Record], searcher: Searcher) -> str:
    scored = sum(r.value is not None for r in records)
    if scored < LEAST:
        return _section("Refining", f"Drawn from {LEAST} scores on; there are {scored}.")
    if (scale := refiner(searcher)) is None:
        return _section("Refining", "The costs of the space are functions that the study's own program has.")
    pairs = refining_pairs(scale, records)
    note = "Do codes that are far apart differ in score? The linear refining is trained on the first round."
    both = (("Before", "distance", pairs.distance), ("After", "refined", pairs.refined))
    halves = (f"<div>{_heading(title)}{_plot(id, plots.refining(x, pairs))}</div>" for title, id, x in both)
    return _section("Refining", note, f'<div class="beside">{"".join(halves)}</div>')


def _rounds(records: Sequence[Record], direction: str) -> str:
    lines = rounds(records, direction)
    if not lines:
        return _section("Rounds", "No round has begun yet.")
    return _section("Rounds", "", _table("rounds", list(lines[0]), [list(line.values()) for line in lines]))


def _best(records: Sequence[Record], direction: str, answer: Code | None) -> str:
    best = ranked(records, direction)[:20]
    if not best:
        return _section("Best codes", "No trial has a score yet.")
    rows = [
        [r.code, "*" if r.code == answer else "", r.value, r.round + 1, str(r.number), *r.costs.values(), r.seconds]
        for r in best
    ]
    heads = ["code", "", "score", "round", "trial", *best[0].costs, "seconds"]
    return _section("Best codes", "* the searcher's answer", _table("best", heads, rows))


def _faults(records: Sequence[Record], journal: Sequence[Entry]) -> str:
    faults = status(journal).faults
    troubled = [r for r in records if r.errors or r.state == "failed"]
    if not faults and not troubled:
        return _section("What happened", "Nothing went wrong.")
    counts = Counter(entry.trial for entry in faults)
    trials = [
        [str(r.number), r.code, _OUTCOMES[r.state], max(counts[r.number], len(r.errors)), _different(r.errors)]
        for r in troubled[-_LISTED:]
    ]
    events = [[_moment(e.time), "" if e.trial is None else str(e.trial), e.text] for e in faults[-_LISTED:]]
    parts = [_cut(len(troubled), len(faults))]
    if trials:
        heads = ["trial", "code", "outcome", "faults", "errors"]
        parts += [_heading(f"Trials with faults: {len(troubled)}"), _table("trials", heads, trials)]
    if events:
        parts += [_heading(f"Faults in order: {len(faults)}"), _table("faults", ["time", "trial", "what"], events)]
    return _section("What happened", "", *parts)


def _different(errors: Sequence[str]) -> str:
    return "\n".join(dict.fromkeys(errors))


def _cut(*lengths: int) -> str:
    return f"<p>The latest {_LISTED} of each; <code>--csv</code> has all trials.</p>" if max(lengths) > _LISTED else ""


def _section(title: str, note: str, *parts: str) -> str:
    return f"<h2>{title}</h2>\n" + (f"<p>{note}</p>\n" if note else "") + "\n".join(parts)


def _heading(title: str) -> str:
    return f"<h3>{title}</h3>"


def _plot(id: str, figure: Figure, kind: str = "plot") -> str:
    data = json.dumps(figure, separators=(",", ":")).replace("<", "\\u003c")  # no text ends the script
    return f'<div id="{id}" class="{kind}"><script type="application/json">{data}</script></div>'


def _table(id: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th{_side(value)}>{html.escape(head)}</th>" for head, value in zip(heads, rows[0], strict=True))
    lines = ("".join(f"<td{_side(value)}>{_shown(value)}</td>" for value in row) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="table"><table id="{id}">\n<thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody>\n</table></div>'


def _side(value: Any) -> str:
    return ' class="number"' if isinstance(value, (int, float)) else ""


def _shown(value: Any) -> str:
    if isinstance(value, (int, float)):
        return amount(value)
    text = html.escape("" if value is None else str(value))
    return f"<code>{text}</code>" if isinstance(value, Code) else text


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return (
        f"{hours:,.1f} hours" if hours >= 1 else f"{minutes:.1f} minutes" if minutes >= 1 else f"{seconds:.1f} seconds"
    )
