"""What a study found, as one HTML file with interactive plots that loads nothing. Needs `autobss-zoo[plot]`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from autobss_zoo.codes import Code
from autobss_zoo.cost import Setting
from autobss_zoo.families import FAMILIES

from ..searchers import Searcher
from ..studies.journal import Entry, status
from ..studies.records import Record
from . import html_plots as plots
from .html_plots import amount
from .page import drawn, duration, heading, moment, section, table, terms, write_page
from .plots import LEAST, refiner, refining_pairs
from .report import front, ranked, rounds

_LISTED = 500  # faults and failed trials
_OUTCOMES = {"complete": "scored", "failed": "failed", "waiting": "waiting"}


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
    body = [
        _facts(searcher, records, journal, answer, planned),
        _history(records, searcher.direction),
        _trade_off(records, searcher),
        _allocation(records, searcher, answer, setting),
        _refining(records, searcher),
        _rounds(records, searcher.direction),
        _best(records, searcher.direction, answer),
        _faults(records, journal),
    ]
    write_page(path, name, body)


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
        "Training in all": duration(sum(r.seconds or 0 for r in records)),
        "Driver": _driver(journal),
        "The searcher's answer": answer or "none yet",
    }
    return terms(facts)


def _driver(journal: Sequence[Entry]) -> str:
    now = status(journal)
    if now.driver is None:
        return "not known: there is no journal"
    if now.ended is not None:
        return f"{now.ended.text}, {moment(now.ended.time)}"
    return f"{'killed; began' if now.killed else 'running since'} {moment(now.driver.time)} ({now.driver.where})"


def _history(records: Sequence[Record], direction: str) -> str:
    if all(r.state == "waiting" for r in records):
        return section("History", "No trial has ended yet.")
    note = "Hover for a trial's code. A click in the legend hides; dragging enlarges, a double click resets."
    return section("History", note, drawn("history", plots.history(records, direction)))


def _trade_off(records: Sequence[Record], searcher: Searcher) -> str:
    title = "Cost and score"
    if not searcher.space.constraints:
        return section(title, "The space has no budget, so that trials have no cost.")
    if all(r.value is None for r in records):
        return section(title, "No trial has a score yet.")
    note = "On the Pareto front are the codes that none beats at their cost or less."
    answers = front(searcher, records)
    if answers:
        note += " The searcher's front is that of the scores as it judges them, without their luck."
    constraints = sorted(searcher.space.constraints, key=lambda c: c.name != searcher.cost)  # the objective first
    parts = [drawn("cost", plots.trade_off(records, constraints, searcher.direction, answers))]
    if answers:
        heads = ["code", "score", "round", "trial", *answers[0].costs]
        rows = [[r.code, r.value, r.round + 1, str(r.number), *r.costs.values()] for r in answers]
        parts += [
            heading("The searcher's front: score and " + str(searcher.cost)),
            table("front", heads, rows),
        ]
    return section(title, note, *parts)


def _allocation(records: Sequence[Record], searcher: Searcher, answer: Code | None, setting: Setting | None) -> str:
    title, family = "Allocation of the best codes", FAMILIES.get(searcher.space.family)
    best = [r.code for r in ranked(records, searcher.direction)[:3]]
    if not best:
        return section(title, "No trial has a score yet.")
    codes = dict(zip(("best", "second", "third"), best, strict=False))
    if answer is not None:
        codes = {f"{place} (answer)" if code == answer else place: code for place, code in codes.items()}
        codes |= {} if answer in best else {"answer": answer}
    if family is None:
        note = "The elements of the codes with the best scores."
        return section(title, note, drawn("allocation", plots.elements(codes)))
    codes["hand-made"] = Code(family.name, family.original)
    note = "How the networks with the best scores spend their budget on the stages."
    return section(title, note, drawn("allocation", plots.allocation(family, codes, setting), "plot tall"))


def _refining(records: Sequence[Record], searcher: Searcher) -> str:
    scored = sum(r.value is not None for r in records)
    if scored < LEAST:
        return section("Refining", f"Drawn from {LEAST} scores on; there are {scored}.")
    if (scale := refiner(searcher)) is None:
        return section("Refining", "The costs of the space are functions that the study's own program has.")
    pairs = refining_pairs(scale, records)
    note = "Do codes that are far apart differ in score? The linear refining is trained on the first round."
    both = (("Before", "distance", pairs.distance), ("After", "refined", pairs.refined))
    halves = (f"<div>{heading(title)}{drawn(id, plots.refining(x, pairs))}</div>" for title, id, x in both)
    return section("Refining", note, f'<div class="beside">{"".join(halves)}</div>')


def _rounds(records: Sequence[Record], direction: str) -> str:
    lines = rounds(records, direction)
    if not lines:
        return section("Rounds", "No round has begun yet.")
    return section("Rounds", "", table("rounds", list(lines[0]), [list(line.values()) for line in lines]))


def _best(records: Sequence[Record], direction: str, answer: Code | None) -> str:
    best = ranked(records, direction)[:20]
    if not best:
        return section("Best codes", "No trial has a score yet.")
    rows = [
        [r.code, "*" if r.code == answer else "", r.value, r.round + 1, str(r.number), *r.costs.values(), r.seconds]
        for r in best
    ]
    heads = ["code", "", "score", "round", "trial", *best[0].costs, "seconds"]
    return section("Best codes", "* the searcher's answer", table("best", heads, rows))


def _faults(records: Sequence[Record], journal: Sequence[Entry]) -> str:
    faults = status(journal).faults
    troubled = [r for r in records if r.errors or r.state == "failed"]
    if not faults and not troubled:
        return section("What happened", "Nothing went wrong.")
    counts = Counter(entry.trial for entry in faults)
    trials = [
        [str(r.number), r.code, _OUTCOMES[r.state], max(counts[r.number], len(r.errors)), _different(r.errors)]
        for r in troubled[-_LISTED:]
    ]
    events = [[moment(e.time), "" if e.trial is None else str(e.trial), e.text] for e in faults[-_LISTED:]]
    parts = [_cut(len(troubled), len(faults))]
    if trials:
        heads = ["trial", "code", "outcome", "faults", "errors"]
        parts += [heading(f"Trials with faults: {len(troubled)}"), table("trials", heads, trials)]
    if events:
        parts += [heading(f"Faults in order: {len(faults)}"), table("faults", ["time", "trial", "what"], events)]
    return section("What happened", "", *parts)


def _different(errors: Sequence[str]) -> str:
    return "\n".join(dict.fromkeys(errors))


def _cut(*lengths: int) -> str:
    return f"<p>The latest {_LISTED} of each; <code>--csv</code> has all trials.</p>" if max(lengths) > _LISTED else ""
