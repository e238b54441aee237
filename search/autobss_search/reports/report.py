"""What a study found, as tables and files."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ..searchers import Searcher
from ..studies.reading import can_encode
from ..studies.records import Record


def ranked(records: Sequence[Record], direction: str = "maximize") -> list[Record]:
    """The scored trials, the best first; of equal ones the earlier."""
    sign = -1 if direction == "maximize" else 1
    return sorted((r for r in records if r.value is not None), key=lambda r: (sign * r.value, r.number))  # type: ignore[operator]


def front(searcher: Searcher, records: Sequence[Record]) -> list[Record]:
    """The trials of the searcher's front, the cheapest first.

    None while there is no score, where the score is the only objective, or where only the study's program can judge.
    """
    scored = {r.code: r for r in reversed(records) if r.value is not None}
    if not scored or not searcher.cost or not can_encode(searcher):
        return []
    costs = {code: r.costs[searcher.cost] for code, r in scored.items()}
    return [scored[code] for code in searcher.front((r.observation for r in records if r.value is not None), costs)]


def rounds(records: Sequence[Record], direction: str = "maximize") -> list[dict[str, Any]]:
    """For each round its trials, how many are scored, failed and waiting, the best and mean score, and seconds in all.

    Rounds count from 1; 0 has the scores that were known before.
    """
    better: Callable[..., float | None] = max if direction == "maximize" else min
    by_round: dict[int, list[Record]] = defaultdict(list)
    for r in records:
        by_round[r.round].append(r)
    out = []
    for round, mine in sorted(by_round.items()):
        values = [r.value for r in mine if r.value is not None]
        out.append(
            {
                "round": round + 1,
                "trials": len(mine),
                "scored": len(values),
                "failed": sum(r.state == "failed" for r in mine),
                "waiting": sum(r.state == "waiting" for r in mine),
                "best": better(values, default=None),
                "mean": sum(values) / len(values) if values else None,
                "seconds": sum(r.seconds or 0 for r in mine),
            }
        )
    return out


def to_json(records: Sequence[Record]) -> str:
    """Every trial with all that is known of it."""
    rows = [{**asdict(r), "code": str(r.code), "elements": r.code.as_dict()} for r in records]
    return json.dumps(rows, indent=1) + "\n"


def to_csv(records: Sequence[Record]) -> str:
    """A line a trial; the elements of the code and its costs in columns of their own."""
    out = io.StringIO()
    names = list(records[0].code.as_dict()) if records else []
    costs = list(records[0].costs) if records else []
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["number", "round", "source", "seed", "state", "value", "seconds", "code", *names, *costs, "errors"]
    )
    for r in records:
        known = [r.number, r.round, r.source, r.seed, r.state, r.value, r.seconds, str(r.code)]
        writer.writerow([*known, *r.code.values, *r.costs.values(), "; ".join(r.errors)])
    return out.getvalue()
