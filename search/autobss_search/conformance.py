"""A test of a space of your own, as scikit-learn's `check_estimator` is of an estimator."""

from __future__ import annotations

import numpy as np

from autobss_zoo.codes import Code

from .searchers import candidates
from .spaces.space import Space


def check_space(space: Space, n: int = 200, seed: int = 0) -> None:
    """Check that everything the engine relies on holds for a space.

    Args:
        space: The space.
        n: How many random codes to check with.
        seed: Of those codes.

    Raises:
        AssertionError: If something does not hold; the message says what and for which code.
    """
    rng = np.random.default_rng(seed)
    rows = candidates.uniform(space, n, rng)
    codes = space.decode(rows)
    _expect((space.encode(codes) == rows).all(), "encode is not the inverse of decode", codes)
    for code in codes:
        _expect(space.parse(str(code)) == code, "its text does not parse back to it", [code])
        _expect(code in space, "a sampled code is no member", [code])
    values = space.values(rows)
    for constraint in space.constraints:
        together = constraint.costs(values).astype(float)
        _expect(together.shape == (n,), f"{constraint.name} of {n} codes has shape {together.shape}", codes[:1])
        _expect(bool(np.isfinite(together).all()), f"{constraint.name} is not finite", codes)
        for i in range(min(n, 20)):
            alone = float(constraint.costs(values[i : i + 1])[0])
            same = np.isclose(alone, together[i], rtol=1e-9)
            _expect(bool(same), f"{constraint.name} is {alone} alone and {together[i]} among others", [codes[i]])
            larger = space.values(space.steps(rows[i : i + 1], (1,)))
            if len(larger):
                stated = constraint.least(values[i : i + 1])[0]
                falls = constraint.costs(larger).min() < stated
                how = "monotone" if constraint.monotone else f"at least {stated}"
                _expect(not falls, f"{constraint.name} is stated to be {how} and falls with growth", [codes[i]])
    grown = candidates.grow(space, rows, rng)
    for row, code, large in zip(rows[:20], codes[:20], space.decode(grown[:20]), strict=True):
        _expect(large in space, f"{large}, which grew from it, is no member", [code])
        _expect(not space.growth_steps(large), "growth ended although a dimension can be increased", [large])
        for near in space.encode(space.neighbors(code)):
            back = (space.steps(near[None]) == row).all(axis=1).any()
            _expect(bool(back), f"it is no neighbour of its neighbour {space.decode(near[None])[0]}", [code])
    again = candidates.uniform(space, n, np.random.default_rng(seed))
    _expect((again == rows).all(), "the same seed samples other codes", codes)


def _expect(holds: bool, problem: str, codes: list[Code]) -> None:
    if not holds:
        raise AssertionError(f"{codes[0]}: {problem}")
