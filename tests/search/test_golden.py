"""The engine proposes the codes that it always has, for fixed seeds and scores, in every space that was there first."""

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from autobss_search import AutoBSS, LocalSearch, RandomSearch, RegularizedEvolution, Session, get_space

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "proposals.json").read_text(encoding="utf-8"))
SEARCHERS = {
    "autobss": lambda space: AutoBSS(space, seed=1, n_candidates=1000),
    "paper": lambda space: AutoBSS(space, "paper", seed=1, n_candidates=1000),
    "random": lambda space: RandomSearch(space, seed=1),
    "evolution": lambda space: RegularizedEvolution(space, seed=1),
    "local": lambda space: LocalSearch(space, seed=1),
}


def score(code):
    values = np.log(np.array(code.values, float))
    return float(values @ np.linspace(0.2, 1.0, len(values)) + 0.3 * zlib.crc32(str(code).encode()) / 2**32)


@pytest.mark.parametrize("space", GOLDEN)
@pytest.mark.parametrize("searcher", SEARCHERS)
def test_three_rounds_and_the_answer(space, searcher):
    session, asked = Session(SEARCHERS[searcher](get_space(space))), []
    for _ in range(3):
        codes = session.ask(16)
        asked += map(str, codes)
        for code in codes:
            session.tell(code, score(code))
    found = {
        "last": asked[-1],
        "answer": str(session.recommend()),
        "sha256": hashlib.sha256("\n".join(asked).encode()).hexdigest(),
    }
    assert found == GOLDEN[space][searcher]
