"""mIoU, mAcc and aAcc: against scikit-learn and by hand."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, jaccard_score

from autobss_zoo.training.metrics.mean_iou import MeanIoU, confusion


def result(truth, predicted, number):
    counts = confusion(truth, predicted, number)
    right, taken, true = (tuple(c.tolist()) for c in (counts.diagonal(), counts.sum(0), counts.sum(1)))
    return MeanIoU(right, taken, true, 1, 0)


def maps(seed, number, absent=(), ignored=0.2, shape=(2, 9, 13)):
    """True and predicted classes; the latter are right in about half of the pixels."""
    generator = np.random.default_rng(seed)
    there = [c for c in range(number) if c not in absent]
    truth, other = (generator.choice(there, shape).astype(np.uint8) for _ in range(2))
    predicted = np.where(generator.random(shape) < 0.5, truth, other)
    truth[generator.random(shape) < ignored] = 255
    return torch.from_numpy(truth), torch.from_numpy(predicted).long()


@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn's, on a single class and one that is only predicted
@pytest.mark.parametrize("number", [1, 2, 5, 21])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
@given(seed=st.integers(0, 10**6))
def test_figures_are_scikit_learns(number, ignored, seed):
    truth, predicted = maps(seed, number, absent=(1, 3) if number > 3 else (), ignored=ignored)
    judged = truth != 255
    y, z = truth[judged].numpy(), predicted[judged].numpy()
    counts = confusion(truth, predicted, number)
    assert counts.dtype == torch.int64
    assert np.array_equal(counts.numpy(), confusion_matrix(y, z, labels=range(number)))
    found = result(truth, predicted, number)
    present = sorted({*y.tolist(), *z.tolist()})
    expected = jaccard_score(y, z, labels=present, average=None)
    assert [c for c, iou in enumerate(found.iou) if iou is not None] == present
    assert [iou for iou in found.iou if iou is not None] == pytest.approx((100 * expected).tolist())
    macro = jaccard_score(y, z, labels=present, average="macro")
    figures = {"mIoU": macro, "mAcc": balanced_accuracy_score(y, z), "aAcc": accuracy_score(y, z)}
    assert found.row == pytest.approx({key: 100 * value for key, value in figures.items()})


def test_figures_by_hand():
    truth = torch.tensor([[0, 0, 1, 1], [0, 2, 255, 255]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 1, 1, 1], [0, 0, 2, 4]])
    found = result(truth, predicted, 5)
    assert confusion(truth, predicted, 5).tolist()[:3] == [[2, 1, 0, 0, 0], [0, 2, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert (found.right, found.predicted, found.truth) == ((2, 2, 0, 0, 0), (3, 3, 0, 0, 0), (3, 2, 1, 0, 0))
    assert found.iou == pytest.approx([50, 200 / 3, 0, None, None])
    assert found.row == pytest.approx({"mIoU": 350 / 9, "mAcc": 500 / 9, "aAcc": 400 / 6})
    assert found.row[found.metric] == found.row["mIoU"]
    assert found.text == "mIoU 38.89%, mAcc 55.56%, aAcc 66.67%, of 1 images"
    assert json.loads(json.dumps(found.as_dict()))["iou"][3:] == [None, None]


def test_a_class_that_is_only_predicted_lowers_the_mean_iou_alone():
    truth, predicted = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 2])
    found = result(truth, predicted, 4)
    assert found.iou == [75.0, None, 0.0, None]
    assert found.row == {"mIoU": 37.5, "mAcc": 75.0, "aAcc": 75.0}


def test_what_is_no_class_is_left_out():
    truth = torch.tensor([-1, 0, 3, 1, 255, 300, -7])
    predicted = torch.tensor([2, 0, 2, 2, 0, 1, 0])
    assert confusion(truth, predicted, 3).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("number", [1, 3, 255])
def test_where_everything_is_ignored_all_figures_are_0(number):
    truth, predicted = torch.full((4, 5), 255, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.int64)
    found = result(truth, predicted, number)
    assert found.row == {"mIoU": 0.0, "mAcc": 0.0, "aAcc": 0.0}
    assert found.iou == [None] * number
    assert confusion(truth[:0], predicted[:0], number).shape == (number, number)


def test_255_classes_are_counted_like_few():
    truth = torch.arange(256).to(torch.uint8)
    assert torch.equal(confusion(truth, torch.arange(256) % 255, 255), torch.eye(255, dtype=torch.int64))


def test_counts_of_parts_add_up_to_those_of_the_whole():
    truth, predicted = maps(0, 7, shape=(6, 20, 20))
    parts = sum(confusion(t, p, 7) for t, p in zip(truth, predicted, strict=True))
    assert torch.equal(parts, confusion(truth, predicted, 7))
    assert result(truth, truth.long().clamp(max=6), 7).row == {"mIoU": 100.0, "mAcc": 100.0, "aAcc": 100.0}
