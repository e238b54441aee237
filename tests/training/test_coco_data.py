"""Images with objects in COCO's format: where they are looked for, what is checked, and what is learnt of them."""

import json
import logging

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from autobss_zoo.errors import DataError
from autobss_zoo.training.data.coco import CocoImages, load_splits
from coco_files import HEIGHT, SQUARE, WIDTH, annotation, content, pixels, write, write_part

# Where they are looked for


@pytest.mark.parametrize("place", ["{part}", "images/{part}"])
def test_cocos_own_layouts(tmp_path, place):
    for part in ("train2017", "val2017"):
        write_part(tmp_path / f"annotations/instances_{part}.json", tmp_path / place.format(part=part), content())
    train, val = load_splits(str(tmp_path))
    assert (train.path.name, val.path.name) == ("instances_train2017.json", "instances_val2017.json")
    assert (train.folder, val.folder) == tuple(tmp_path / place.format(part=p) for p in ("train2017", "val2017"))
    assert (train.ids, train.categories) == ([3, 7], {9: "cat", 90: "dog"})
    assert list(train.categories) == [9, 90]
    assert train.classes == ("cat", "dog")


def test_of_several_years_the_last_whose_images_are_there(tmp_path):
    for part in ("train2014", "train2017", "val2014", "val2017"):
        write_part(tmp_path / f"annotations/instances_{part}.json", tmp_path / part, content())
    assert [part.folder.name for part in load_splits(str(tmp_path))] == ["train2017", "val2017"]
    for part in ("train2017", "val2017"):
        (tmp_path / part).rename(tmp_path / f"{part}.away")
    assert [part.folder.name for part in load_splits(str(tmp_path))] == ["train2014", "val2014"]
    assert [part.path.stem for part in load_splits(str(tmp_path))] == ["instances_train2014", "instances_val2014"]


@pytest.mark.parametrize("second", ["valid", "val", "test"])
def test_annotations_beside_the_images(tmp_path, second):
    for part in ("train", second):
        write_part(tmp_path / part / "_annotations.coco.json", tmp_path / part, content())
    assert [part.folder.name for part in load_splits(str(tmp_path))] == ["train", second]


def test_names_of_files_may_be_in_folders_of_their_own(tmp_path):
    found = content(names=("one/a.png", "two/deep/b.png"))
    write_part(tmp_path / "found.json", tmp_path / "images", found)
    images = CocoImages(tmp_path / "found.json", tmp_path / "images")
    assert np.array_equal(images.image(3).permute(1, 2, 0).numpy(), pixels(1))


def test_missing_folders_say_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"data_dir: expected a folder with annotations/instances_train.*--data-dir"):
        load_splits(None)
    with pytest.raises(DataError, match="nowhere: there is no such folder of data"):
        load_splits(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"there is no part train; expected annotations/instances_train\*.json"):
        load_splits(str(tmp_path))
    write_part(tmp_path / "annotations/instances_train2017.json", tmp_path / "train2017", content())
    with pytest.raises(DataError, match=r"there is no part val; expected .* or train/ and valid/"):
        load_splits(str(tmp_path))
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(content()))
    with pytest.raises(DataError, match=r"there is no folder val2017 with the images of instances_val2017.json"):
        load_splits(str(tmp_path))


def test_parts_with_other_categories_are_refused(tmp_path):
    other = content()
    other["categories"][0]["name"] = "horse"
    for part, found in (("train", content()), ("valid", other)):
        write_part(tmp_path / part / "_annotations.coco.json", tmp_path / part, found)
    with pytest.raises(DataError, match=r"not the same categories: \(90, 'dog'\) is in only one"):
        load_splits(str(tmp_path))


# What is checked


def test_what_other_tools_leave_out_is_filled_in(tmp_path):
    bare = {key: annotation(1)[key] for key in ("id", "image_id", "category_id", "bbox")}
    images = write(tmp_path, content(bare, {**bare, "id": 2, "area": None, "iscrowd": None}))
    assert [(found["area"], found["iscrowd"]) for found in images.api.anns.values()] == [(168, 0)] * 2
    assert len(images.target(7)["boxes"]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "this is no JSON",
        json.dumps(content())[:-40],
        "[" * 100_000,
        "\x00\x01",
        json.dumps(content()).encode("utf-16"),
    ],
    ids=["empty", "text", "truncated", "deep", "binary", "utf-16"],
)
def test_files_that_are_no_json_are_named(tmp_path, text):
    write(tmp_path, content())
    (tmp_path / "found.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"found.json: broken annotation file \(.+\); copy it again"):
        CocoImages(tmp_path / "found.json", tmp_path / "images")


def changed(part, index, **values):
    """The content with one of its entries changed; a value of ... takes the key away."""
    found = content(annotation(1), annotation(2))
    entry = found[part][index]
    entry |= values
    found[part][index] = {key: value for key, value in entry.items() if value is not ...}
    return found


NAN = float("nan")
BROKEN = {
    "a list": ([content()], "expected a list of images, got NoneType"),
    "a number": (3, "expected a list of images, got NoneType"),
    "no images": (content(without=["images"]), "expected a list of images, got NoneType"),
    "no annotations": (content(without=["annotations"]), "expected a list of annotations, got NoneType"),
    "no categories": (content(without=["categories"]), "expected a list of categories, got NoneType"),
    "a mapping": ({**content(), "images": {}}, "expected a list of images, got dict"),
    "empty images": ({**content(), "images": [], "annotations": []}, "there are no images"),
    "empty categories": ({**content(), "categories": [], "annotations": []}, "there are no categories"),
    "entry": ({**content(), "images": ["a.png"]}, "one of its images has no id: a.png"),
    "file_name": (changed("images", 1, file_name=...), r"one of its images has no file_name: \{'id': 3"),
    "category name": (changed("categories", 0, name=...), "one of its categories has no name"),
    "bbox": (changed("annotations", 1, bbox=...), r"one of its annotations has no bbox: \{'id': 2"),
    "image_id": (changed("annotations", 1, image_id=...), "one of its annotations has no image_id"),
    "two images": (changed("images", 1, id=7), "two of its images have the same id"),
    "two categories": (changed("categories", 1, id=90), "two of its categories have the same id"),
    "two annotations": (changed("annotations", 1, id=1), "two of its annotations have the same id"),
    "unknown image": (changed("annotations", 1, image_id=8), "annotation 2 is of image 8, which is not there"),
    "unknown category": (changed("annotations", 1, category_id=1), "annotation 2 is of category 1, which is not there"),
    "three numbers": (changed("annotations", 1, bbox=[1, 2, 3]), r"bbox of annotation 2 is not four .*: \[1, 2, 3\]"),
    "not a number": (changed("annotations", 0, bbox=[1, 2, 3, NAN]), "bbox of annotation 1 is not four finite numbers"),
    "infinite": (changed("annotations", 0, bbox=[1, 2, 3, -1e999]), "bbox of annotation 1 is not four finite numbers"),
    "enormous": (changed("annotations", 0, bbox=[1, 2, 3, 10**400]), "bbox of annotation 1 is not four finite numbers"),
    "strings": (changed("annotations", 0, bbox=["1", "2", "3", "4"]), "bbox of annotation 1 is not four finite"),
    "null": (changed("annotations", 0, bbox=None), "bbox of annotation 1 is not four finite numbers: None"),
    "null within": (changed("annotations", 0, bbox=[1, 2, None, 4]), "bbox of annotation 1 is not four finite numbers"),
    "no height": (changed("images", 0, height=...), "one of its images has no height"),
    "null width": (changed("images", 0, width=None), "image 7 has no size: 32xNone"),
    "zero height": (changed("images", 0, height=0), "image 7 has no size: 0x40"),
    "text as size": (changed("images", 0, height="32"), "image 7 has no size: 32x40"),
    "id as text": (changed("images", 0, id="7"), r"the id of one of its images is not a whole number: \{'id': '7'"),
    "id as list": (changed("images", 0, id=[7]), "the id of one of its images is not a whole number"),
    "null id": (changed("annotations", 0, id=None), "the id of one of its annotations is not a whole number"),
    "list as image_id": (
        changed("annotations", 0, image_id=[7]),
        "the image_id of one of its annotations is not a whole",
    ),
    "mapping as category_id": (changed("annotations", 0, category_id={}), "the category_id of one of its annotations"),
    "number as file_name": (changed("images", 0, file_name=5), "the file_name of one of its images is not text"),
    "null as name": (changed("categories", 0, name=None), "the name of one of its categories is not text"),
    "area as text": (changed("annotations", 1, area="wide"), "area of annotation 2 is not a finite number: wide"),
    "area not a number": (changed("annotations", 1, area=NAN), "area of annotation 2 is not a finite number: nan"),
    "crowd": (changed("annotations", 1, iscrowd=[0]), r"iscrowd of annotation 2 is neither 0 nor 1: \[0\]"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_annotations_are_named(tmp_path, case):
    found, message = BROKEN[case]
    with pytest.raises(DataError, match=rf"found.json: broken annotation file: .*{message}"):
        write(tmp_path, found)


def test_missing_images_are_named_and_counted(tmp_path):
    found = content(names=("a.png", "gone/c.png"))
    found["images"].append({"id": 11, "file_name": "d.png", "width": WIDTH, "height": HEIGHT})
    with pytest.raises(DataError, match=r"gone/c.png: this image of found.json is missing, and 1 more"):
        write(tmp_path, found)


# What is learnt of them


def test_boxes_are_corners_inside_the_image(tmp_path):
    boxes = [(-5, -3.5, 20, 10), (30, 20, 100, 100), (1.25, 2.5, 3, 4), (0, 0, WIDTH, HEIGHT)]
    images = write(tmp_path, content(*(annotation(i, bbox=box) for i, box in enumerate(boxes))))
    target = images.target(7)
    expected = [[0, 0, 15, 6.5], [30, 20, 40, 32], [1.25, 2.5, 4.25, 6.5], [0, 0, 40, 32]]
    assert target["boxes"].dtype == torch.float32
    assert target["boxes"].tolist() == expected
    assert "masks" not in target


def test_labels_are_places_among_the_sorted_categories(tmp_path):
    images = write(tmp_path, content(*(annotation(i, category=c) for i, c in enumerate((90, 9, 90)))))
    for first in (0, 1):
        labels = images.target(7, first)["labels"]
        assert labels.dtype == torch.int64
        assert labels.tolist() == [1 + first, first, 1 + first]


def test_images_without_objects_have_empty_targets_and_are_not_learnt_from(tmp_path):
    images = write(tmp_path, content())
    assert (images.ids, images.with_objects) == ([3, 7], [7])
    target = images.target(3, 1, masks=True)
    assert {key: tuple(value.shape) for key, value in target.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "masks": (0, HEIGHT, WIDTH),
    }
    assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
    assert target["masks"].dtype == torch.uint8


def run_lengths(covered):
    """A mask's run lengths down its columns, the first of zeros."""
    runs, last = [0], 0
    for value in covered.T.ravel().tolist():
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    return runs


def test_masks_of_polygons_and_run_lengths_are_pycocotools_own(tmp_path):
    generator = np.random.default_rng(0)
    polygons = [SQUARE, [20.5, 2.0, 38.0, 9.5, 25.0, 30.0], [1.0, 1.0, 2.0, 30.0]]
    noise = [generator.random((HEIGHT, WIDTH)) < share for share in (0.5, 0.02, 0.98)]
    noise += [np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool)]
    block = np.zeros((HEIGHT, WIDTH), bool)
    block[3:30, 5:33] = True
    segmentations = [[polygons[0]], polygons]
    expected = [
        coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, HEIGHT, WIDTH))) for parts in segmentations
    ]
    for covered in [*noise, block]:
        packed = coco_mask.encode(np.asfortranarray(covered.astype(np.uint8)))
        segmentations.append({"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode()})
        segmentations.append({"size": [HEIGHT, WIDTH], "counts": run_lengths(covered)})
        expected += [covered, covered]
    images = write(tmp_path, content(*(annotation(i, segmentation=s) for i, s in enumerate(segmentations))))
    images.check_masks()
    masks = images.target(7, masks=True)["masks"]
    assert masks.dtype == torch.uint8
    assert np.array_equal(masks.numpy(), np.stack(expected).astype(np.uint8))
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[6:20, 4:16] = True
    assert np.array_equal(masks[0].numpy() > 0, inside)  # of the square by hand


def test_crowds_are_not_learnt(tmp_path):
    crowd = annotation(2, image=3, iscrowd=1, segmentation={"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]})
    images = write(tmp_path, content(annotation(1), crowd, {**crowd, "id": 3, "image_id": 7}))
    assert images.with_objects == [7]
    assert len(images.target(7)["boxes"]) == 1
    assert len(images.target(3)["boxes"]) == 0
    assert len(images.api.imgToAnns[7]) == 2  # evaluation knows them


def test_boxes_without_an_area_are_left_out_and_reported_once(tmp_path, caplog):
    flat = [
        (5, 5, 0, 9),
        (5, 5, -4, 9),
        (5, 5, 9, -4),
        (50, 5, 9, 9),
        (5, -20, 9, 9),
        (5, 5, 0.009, 9),
        (5, 5, 9, 0.001),
    ]
    thin = (5, 5, 0.02, 9)
    found = [annotation(i, bbox=box) for i, box in enumerate([thin, *flat], start=10)]
    with caplog.at_level(logging.WARNING):
        images = write(tmp_path, content(*found, annotation(30, image=3, bbox=flat[0])))
    (record,) = caplog.records
    assert "found.json: 8 boxes have no area inside their images and are left out of training" in record.message
    assert record.message.endswith("the first is of annotation 11")
    assert images.with_objects == [7]
    assert len(images.target(7, masks=True)["masks"]) == 1
    left, top, right, bottom = images.target(7)["boxes"][0].tolist()
    assert left < right
    assert top < bottom


def test_whole_boxes_are_not_reported(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        write(tmp_path, content())
    assert not caplog.records


def test_objects_without_a_mask_are_named(tmp_path):
    bare = annotation(4)
    del bare["segmentation"]
    for missing in (bare, annotation(4, segmentation=[]), annotation(4, segmentation=None)):
        images = write(tmp_path, content(annotation(1), missing))
        with pytest.raises(DataError, match=r"found.json: annotation 4 has no segmentation, which a maskrcnn learns"):
            images.check_masks()
    others = [{**bare, "iscrowd": 1}, {**bare, "bbox": [0, 0, 0, 0]}]
    for missing in others:  # which are not learnt, but evaluated
        images = write(tmp_path, content(annotation(1), missing))
        images.check_masks()
        with pytest.raises(DataError, match="annotation 4 has no segmentation"):
            images.check_masks(every=True)


PIXELS = HEIGHT * WIDTH


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2]],
        [[1, 1, 20, 1]],
        [[]],
        [SQUARE, []],
        SQUARE,
        ["abc"],
        [[1, "a", 2, 3, 4, 5]],
        [[1, None, 2, 3, 4, 5]],
        [[1, NAN, 2, 3, 4, 5]],
        [[1e9, 0, 0, 1e9, 5, 5]],  # crashes pycocotools, as the last one does
        "text",
        5,
        {"counts": [0, PIXELS]},
        {"size": [HEIGHT, WIDTH]},
        {"size": [WIDTH, HEIGHT], "counts": [0, PIXELS]},
        {"size": [20, 20], "counts": [0, 400]},
        {"size": [HEIGHT, WIDTH], "counts": [0, 400]},
        {"size": [HEIGHT, WIDTH], "counts": [0, 4000]},
        {"size": [HEIGHT, WIDTH], "counts": [PIXELS + 5, -5]},
        {"size": [HEIGHT, WIDTH], "counts": [0.5, PIXELS - 0.5]},
        {"size": [HEIGHT, WIDTH], "counts": None},
        {"size": [HEIGHT, WIDTH], "counts": ""},
        {"size": [HEIGHT, WIDTH], "counts": "~~~~~~"},
        {"size": [HEIGHT, WIDTH], "counts": "abc"},
        {"size": [HEIGHT, WIDTH], "counts": "é"},
        {"size": [10**6, 10**6], "counts": [3]},
    ],
)
def test_broken_masks_are_named(tmp_path, segmentation):
    images = write(tmp_path, content(annotation(1), annotation(6, segmentation=segmentation)))
    with pytest.raises(DataError, match=r"found.json: annotation 6: broken segmentation \(.+\)"):
        images.target(7, masks=True)
    with pytest.raises(DataError, match=r"found.json: annotation 6: broken segmentation \(.+\)"):
        images.check_masks()
    assert len(images.target(7)["boxes"]) == 2  # which need no masks


@pytest.mark.parametrize("seed", range(3))
def test_a_compressed_mask_that_is_cut_short_is_named(tmp_path, seed):
    covered = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.1
    counts = coco_mask.encode(np.asfortranarray(covered.astype(np.uint8)))["counts"].decode()
    images = write(tmp_path, content(annotation(6, segmentation={"size": [HEIGHT, WIDTH], "counts": counts})))
    assert np.array_equal(images.target(7, masks=True)["masks"][0].numpy(), covered)
    for kept in (1, len(counts) // 2, len(counts) - 3):
        short = {"size": [HEIGHT, WIDTH], "counts": counts[:kept]}
        with pytest.raises(DataError, match="annotation 6: broken segmentation"):
            write(tmp_path, content(annotation(6, segmentation=short))).target(7, masks=True)


def test_parts_of_different_years_are_refused(tmp_path):
    for part in ("train2017", "val2014"):
        write_part(tmp_path / "annotations" / f"instances_{part}.json", tmp_path / part, content())
    with pytest.raises(DataError, match=r"instances_train2017.json and instances_val2014.json are of different years"):
        load_splits(str(tmp_path))
