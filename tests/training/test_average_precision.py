"""COCO's average precision: against pycocotools used by itself, and against sums by hand."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from autobss_zoo.errors import DataError
from autobss_zoo.training.metrics.average_precision import AveragePrecision, as_results, average_precision

CATEGORIES = {1: 9, 2: 4, 3: 90}  # by label
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
BOX = [f"box_{name}" for name in NAMES]
MASK = [f"mask_{name}" for name in NAMES]


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def ellipse(generator, side):
    """A mask with at least one pixel."""
    y, x = np.mgrid[:side, :side]
    centre, radii = generator.uniform(4, side - 4, 2), generator.uniform(2, side / 2, 2)
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1


def encode(mask):
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def random_task(seed, side=64, images=6, first_id=1):
    """Truth in COCO's format, and predictions as torchvision's detectors return them, some of them near the truth."""
    generator = np.random.default_rng(seed)
    truth = {"categories": [{"id": number, "name": str(number)} for number in sorted(CATEGORIES.values())]}
    truth |= {"images": [], "annotations": []}
    predictions = {}
    for number in (20 + 7 * i for i in range(images)):
        truth["images"].append({"id": number, "file_name": f"{number}.png", "width": side, "height": side})
        found = []
        for _ in range(generator.integers(0, 5)):
            mask, label = ellipse(generator, side), int(generator.integers(1, 4))
            left, top, right, bottom = (int(value) for value in box_of(mask))
            facts = {"id": first_id + len(truth["annotations"]), "image_id": number, "category_id": CATEGORIES[label]}
            facts |= {"bbox": [left, top, right - left, bottom - top], "area": int(mask.sum())}
            facts |= {"segmentation": encode(mask), "iscrowd": int(generator.random() < 0.2)}
            truth["annotations"].append(facts)
            for _ in range(generator.integers(0, 3)):
                shifted = np.roll(mask, generator.integers(-3, 4, 2), (0, 1))
                found.append((shifted, label if generator.random() < 0.8 else int(generator.integers(1, 4))))
        found += [(ellipse(generator, side), int(generator.integers(1, 4))) for _ in range(generator.integers(0, 3))]
        if generator.random() < 0.15:
            found = []
        soft = [np.clip(mask * 0.9 + generator.uniform(-0.3, 0.3, mask.shape), 0, 1) for mask, _ in found]
        boxes = [box_of(mask) + generator.uniform(-1, 1, 4) for mask, _ in found]
        predictions[number] = {
            "boxes": torch.tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([label for _, label in found], dtype=torch.int64),
            "scores": torch.tensor(generator.random(len(found)), dtype=torch.float32),
            "masks": torch.tensor(np.array(soft), dtype=torch.float32).reshape(-1, 1, side, side),
        }
    return truth, predictions


def index(truth):
    api = COCO()
    api.dataset = json.loads(json.dumps(truth))
    api.createIndex()
    return api


def ours(truth, predictions, masks=True):
    results = [r for number, found in predictions.items() for r in as_results(number, found, CATEGORIES)]
    return average_precision(index(truth), list(predictions), results, masks)


def by_itself(truth, predictions, folder):
    """What pycocotools says of files, as its own demonstration uses it."""
    (folder / "truth.json").write_text(json.dumps(truth))
    figures = {}
    for kind, iou in (("box", "bbox"), ("mask", "segm")):
        results = []
        for number, found in predictions.items():
            for box, label, score, mask in zip(
                *(found[k] for k in ("boxes", "labels", "scores", "masks")), strict=True
            ):
                left, top, right, bottom = map(float, box)
                shape = {"bbox": [left, top, right - left, bottom - top]}
                if iou == "segm":
                    shape = {"segmentation": encode(mask[0].numpy() > 0.5)}
                facts = {"image_id": number, "category_id": CATEGORIES[int(label)], "score": float(score)}
                results.append(facts | shape)
        (folder / "results.json").write_text(json.dumps(results))
        api = COCO(str(folder / "truth.json"))
        judge = COCOeval(api, api.loadRes(str(folder / "results.json")), iou)
        judge.params.imgIds = sorted(predictions)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        figures |= {
            f"{kind}_{name}": 100 * value for name, value in zip(NAMES, judge.stats, strict=False) if value >= 0
        }
    return figures


@pytest.mark.parametrize("side", [64, 160])
@settings(max_examples=50)
@given(seed=st.integers(0, 10**6))
def test_figures_are_those_of_pycocotools_by_itself(tmp_path_factory, side, seed):
    truth, predictions = random_task(seed, side, images=4)
    if not any(len(found["labels"]) for found in predictions.values()):
        return  # pycocotools cannot load no results; tested below
    expected = by_itself(truth, predictions, tmp_path_factory.mktemp("files"))
    assert ours(truth, predictions) == pytest.approx(expected, abs=1e-9)
    without = [{key: found[key] for key in ("boxes", "labels", "scores")} for found in predictions.values()]
    assert ours(truth, dict(zip(predictions, without, strict=True)), masks=False) == pytest.approx(
        {key: value for key, value in expected.items() if key.startswith("box")}, abs=1e-9
    )


def test_random_tasks_are_neither_perfect_nor_hopeless(tmp_path):
    """So that the comparison above compares something, crowds and images without objects among it."""
    truth, predictions = random_task(3, 160, images=40)
    found = ours(truth, predictions)
    assert found.keys() == {*BOX, *MASK}
    assert all(2 < value < 90 for value in found.values())
    assert found["box_AP"] != found["mask_AP"]
    assert any(facts["iscrowd"] for facts in truth["annotations"])
    assert {facts["image_id"] for facts in truth["annotations"]} < predictions.keys()
    assert any(not len(prediction["labels"]) for prediction in predictions.values())
    assert found == pytest.approx(by_itself(truth, predictions, tmp_path), abs=1e-9)


def test_only_the_images_that_were_looked_at_count(tmp_path):
    truth, predictions = random_task(1, images=12)
    some = dict(list(predictions.items())[::2])
    assert ours(truth, some) == pytest.approx(by_itself(truth, some, tmp_path), abs=1e-9)
    assert ours(truth, some) != ours(truth, predictions)


def test_the_objects_numbers_do_not_matter():
    """pycocotools by itself takes an object 0 for none; many tools' files begin with it."""
    truth, predictions = random_task(2)
    zero, _ = random_task(2, first_id=0)
    assert zero["annotations"][0]["id"] == 0
    assert ours(zero, predictions) == ours(truth, predictions)


def test_the_order_of_images_does_not_matter():
    truth, predictions = random_task(3)
    assert ours(truth, dict(reversed(predictions.items()))) == pytest.approx(ours(truth, predictions), abs=1e-9)


def perfect(truth, side=64):
    predictions = {}
    for image in truth["images"]:
        objects = [o for o in truth["annotations"] if o["image_id"] == image["id"] and not o["iscrowd"]]
        masks = [coco_mask.decode(o["segmentation"]) for o in objects]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (o["bbox"] for o in objects)]
        labels = {category: label for label, category in CATEGORIES.items()}
        predictions[image["id"]] = {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([labels[o["category_id"]] for o in objects], dtype=torch.int64),
            "scores": torch.linspace(0.9, 0.5, len(objects)),
            "masks": torch.tensor(np.array(masks), dtype=torch.float32).reshape(-1, 1, side, side),
        }
    return predictions


def test_perfect_predictions_give_100_and_sizes_that_no_object_has_are_absent():
    truth, _ = random_task(4, images=10)
    assert ours(truth, perfect(truth)) == pytest.approx(dict.fromkeys([*BOX[:5], *MASK[:5]], 100), abs=1e-6)
    small = {**truth, "annotations": [{**facts, "area": 50} for facts in truth["annotations"]]}
    assert ours(small, perfect(small)).keys() == {*BOX[:4], *MASK[:4]}


def test_no_predictions_give_0():
    truth, predictions = random_task(4, images=10)
    nothing = {number: {key: value[:0] for key, value in found.items()} for number, found in predictions.items()}
    assert all(as_results(number, found, CATEGORIES) == [] for number, found in nothing.items())
    assert ours(truth, nothing) == dict.fromkeys([*BOX[:5], *MASK[:5]], 0.0)


def test_where_there_are_no_objects_there_are_no_figures():
    truth, predictions = random_task(5)
    for annotations in ([], [{**facts, "iscrowd": 1} for facts in truth["annotations"]]):
        assert ours({**truth, "annotations": annotations}, predictions) == {}
    assert ours(truth, {}) == {}


def test_the_truth_is_left_as_it_is():
    truth, predictions = random_task(6)
    api = index(truth)
    results = [r for number, found in predictions.items() for r in as_results(number, found, CATEGORIES)]
    before = json.dumps(api.dataset), repr(results)
    first = average_precision(api, list(predictions), results, True)
    assert (json.dumps(api.dataset), repr(results)) == before
    assert average_precision(api, list(predictions), results, True) == first


@pytest.mark.parametrize("broken", [None, [], [[1, 2]], {"size": [64, 64], "counts": [5]}])
def test_missing_and_broken_masks_of_the_truth_are_named(broken):
    truth, predictions = random_task(7)
    truth["annotations"][2]["segmentation"] = broken
    with pytest.raises(DataError, match=r"annotation 3: missing or broken segmentation \(.+\)"):
        ours(truth, predictions)
    assert ours(truth, predictions, masks=False).keys() >= {"box_AP"}


# By hand


def by_hand(objects, found):
    """Figures of boxes (left, top, width, height) of one class in one image, found ones with scores."""
    truth = {"images": [{"id": 1, "width": 200, "height": 200}], "categories": [{"id": 9, "name": "cat"}]}
    truth["annotations"] = [
        {"id": i, "image_id": 1, "category_id": 9, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
        for i, box in enumerate(objects)
    ]
    prediction = {
        "boxes": torch.tensor([[x, y, x + w, y + h] for (x, y, w, h), _ in found], dtype=torch.float32),
        "labels": torch.ones(len(found), dtype=torch.int64),
        "scores": torch.tensor([score for _, score in found]),
    }
    return ours(truth, {1: prediction}, masks=False)


def test_precision_and_recall_by_hand():
    """Of four objects the first, third and fourth answers find one each, the second none: precision 1, 1/2, 2/3, 3/4
    at recall 1/4, 1/4, 1/2, 3/4. The highest precision at a recall of r or more, at r = 0, 0.01, ..., 1, is therefore
    26 times 1, 50 times 3/4 and 25 times 0.
    """
    objects = [(20 * i, 0, 10, 10) for i in range(4)]
    found = [(objects[2], 0.9), ((100, 100, 10, 10), 0.8), (objects[0], 0.7), (objects[1], 0.6)]
    expected = 100 * (26 + 50 * 0.75) / 101
    assert by_hand(objects, found) == pytest.approx(dict.fromkeys(BOX[:4], expected), abs=1e-9)


def test_overlaps_by_hand():
    """An answer that covers 62.5% of its object, and nothing else, is right at IoUs of 0.5, 0.55 and 0.6 of ten."""
    figures = by_hand([(50, 50, 80, 80)], [((50, 50, 80, 50), 0.3)])
    assert figures == pytest.approx({"box_AP": 30, "box_AP50": 100, "box_AP75": 0, "box_APm": 30}, abs=1e-9)


def test_a_second_answer_to_an_object_is_wrong():
    """Precision 1 up to a recall of 1/2, and 2/3 from there: the middle one of three answers repeats the first."""
    objects = [(0, 0, 10, 10), (50, 0, 10, 10)]
    found = [(objects[0], 0.9), (objects[0], 0.8), (objects[1], 0.7)]
    expected = 100 * (51 + 50 * 2 / 3) / 101
    assert by_hand(objects, found)["box_AP"] == pytest.approx(expected, abs=1e-9)


# Results


def test_boxes_become_corners_and_sizes_and_what_is_no_category_is_dropped():
    prediction = {
        "boxes": torch.tensor([[1.5, 2, 11.25, 30], [0, 0, 5, 5], [3, 4, 5, 8], [9, 9, 10, 10]]),
        "labels": torch.tensor([2, 0, 3, 4]),
        "scores": torch.tensor([0.5, 0.9, 0.25, 0.125]),
        "masks": torch.stack([torch.full((1, 40, 50), value) for value in (0.4, 0.9, 0.6, 0.9)]),
    }
    prediction["masks"][0, 0, 2:4, 5:10] = 0.51
    before = {key: value.clone() for key, value in prediction.items()}
    first, second = as_results(7, prediction, CATEGORIES)
    assert {k: first[k] for k in ("image_id", "category_id", "bbox", "score")} == {
        "image_id": 7,
        "category_id": 4,
        "bbox": [1.5, 2, 9.75, 28],
        "score": 0.5,
    }
    assert (second["category_id"], second["bbox"], second["score"]) == (90, [3, 4, 2, 4], 0.25)
    mask = np.zeros((40, 50), np.uint8)
    mask[2:4, 5:10] = 1
    assert np.array_equal(coco_mask.decode(first["segmentation"]), mask)
    assert coco_mask.decode(second["segmentation"]).all()
    assert all(torch.equal(prediction[key], before[key]) for key in before)
    nothing = {key: value[1:2] for key, value in prediction.items()}
    assert as_results(7, nothing, CATEGORIES) == []


def test_predictions_in_any_precision_are_left_as_they_are():
    for dtype in (torch.float16, torch.float32, torch.float64):
        boxes = torch.tensor([[1, 2, 11, 30]], dtype=dtype)
        prediction = {"boxes": boxes, "labels": torch.tensor([1]), "scores": torch.tensor([0.5], dtype=dtype)}
        assert as_results(1, prediction, CATEGORIES)[0]["bbox"] == [1, 2, 10, 28]
        assert boxes.tolist() == [[1, 2, 11, 30]]


def test_the_line_for_people_and_the_row():
    figures = {"box_AP": 12.345, "box_AP50": 50.0, "mask_AP": 1.0, "mask_AP50": 2.0}
    result = AveragePrecision(figures, 1234, 2)
    assert result.text == "box AP 12.35% (AP50 50.00%), mask AP 1.00% (AP50 2.00%), of 1,234 images"
    assert result.row == figures
    assert result.row[result.metric] == 12.345
    assert json.loads(json.dumps(result.as_dict())) == {"figures": figures, "images": 1234, "left_out": 2}
