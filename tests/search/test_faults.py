"""A real small search whose workers, nodes, driver, disk and trials fail: nothing is lost or counted twice."""

import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import faults

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    warnings.simplefilter("ignore")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", faults.__file__.rpartition("/")[0])  # Ray's workers import it
        yield faults.references(tmp_path_factory.mktemp("references"))


NAMES = [
    "a worker is killed (processes)",
    "a node is removed (Ray)",
    "the driver is killed twice (Ray)",
    "the ledger's disk is full",
    "a trial hangs once (processes)",
]
"""Each scenario once; the others differ in the executor or in the score, which test_ray.py and test_study.py try."""


@pytest.mark.parametrize("name", NAMES)
def test_the_study_is_the_undisturbed_one(references, tmp_path, name):
    undisturbed, left_out = references
    assert len(undisturbed) == len(left_out) == faults.ROUNDS * faults.BATCH
    assert [r.state for r in left_out].count("failed") == 1
    result = faults.inject(name, tmp_path / "study", undisturbed, left_out)
    assert result.lost == result.twice == 0, result
    assert result.same, result
    assert result.finished > 0, result
    assert result.told, result
    if "killed" in name or "removed" in name:
        assert result.resumed > 0, result
