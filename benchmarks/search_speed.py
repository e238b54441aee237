"""How long the engine thinks, and how much memory it takes.

Targets: 10,000 candidates of any declared space in 3 s, an ask of 16 in 2 s, and in 3 s where codes have 20 elements or
more, less than 1 GB in all.
"""

import sys
import time
import warnings

import numpy as np
from machine import alone, answer, most_memory, parser, report

from autobss_search import AutoBSS, Session, get_space, list_spaces
from autobss_search.searchers.autobss import PRESETS

CANDIDATES, ASK, ASK_OF_MANY, MEMORY = 3.0, 2.0, 3.0, 1000.0
SIZES = (1_000, 10_000, 30_000, 100_000)


def measure(name: str, preset: str, n: int) -> dict[str, float]:
    """Seconds for the candidate set, and for the slowest of four asks of 16; peak memory in MB. Scores are made up."""
    warnings.simplefilter("ignore")
    searcher = AutoBSS(get_space(name), preset, n_candidates=n)
    start = time.perf_counter()
    rows = searcher.candidates
    out = {"candidates": time.perf_counter() - start, "found": float(len(rows)), "ask": 0.0}
    rng, session = np.random.default_rng(0), Session(searcher)
    for _ in range(4):
        start = time.perf_counter()
        codes = session.ask(16)
        out["ask"] = max(out["ask"], time.perf_counter() - start)
        for code in codes:
            session.tell(code, float(np.log(code.values).sum() + rng.normal(0, 0.2)))
    start = time.perf_counter()
    session.recommend()
    out["recommend"] = time.perf_counter() - start
    out["memory"] = most_memory() * 2**20 / 1e6
    return out


def main() -> int:
    options = parser(__doc__).parse_args()
    jobs = [(name, preset, 10_000) for name in list_spaces() for preset in PRESETS]
    jobs += [("mnv2", "default", n) for n in SIZES] + [("mnv2", "paper", n) for n in SIZES[:3]]
    rows, met = [], True
    for job in jobs:
        m = alone(__file__, *job)
        if job[2] == 10_000:
            most = ASK if get_space(job[0]).ndim < 20 else ASK_OF_MANY
            met &= m["candidates"] <= CANDIDATES and m["ask"] <= most and m["memory"] < MEMORY
        seconds = [f"{m[key]:.2f}" for key in ("candidates", "ask", "recommend")]
        rows.append([job[0], job[1], f"{m['found']:,.0f}", *seconds, f"{m['memory']:.0f}"])
    header = [
        "space",
        "preset",
        "candidates",
        "s to make them",
        "s for the slowest ask of 16",
        "s to recommend",
        "MB at most",
    ]
    title = "Search engine: time and memory of 64 scores in rounds of 16, of the whole process with torch and timm"
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    answer(measure)
    sys.exit(main())
