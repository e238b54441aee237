"""Images in COCO's format as they are read: in training, where broken ones are replaced, and in evaluation."""

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from autobss_zoo import Code
from autobss_zoo.detection import create_detector
from autobss_zoo.errors import DataError
from autobss_zoo.training.data.coco import CocoImages, load_splits
from autobss_zoo.training.data.samples import Reader, read_image
from autobss_zoo.training.processes import World
from autobss_zoo.training.tasks.detection import _Images, _Samples, evaluate_detector
from coco_files import HEIGHT, WIDTH, annotation, content, pixels, write
from scenes import write_coco

# The images' own files


def test_images_are_read_as_colours(tmp_path):
    colours = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8), 8, 0), 8, 1)
    whole = Image.fromarray(colours)
    grey = whole.convert("L")
    transparent = whole.convert("RGBA")
    transparent.putalpha(100)
    palette = whole.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    whole.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100, subsampling=0)
    whole.save(tmp_path / "plain.jpg", quality=100, subsampling=0)
    for name, image in {"plain": whole, "grey": grey, "transparent": transparent, "palette": palette}.items():
        image.save(tmp_path / f"{name}.png")
    for name, expected, tolerance in (
        ("plain.png", colours, 0),
        ("grey.png", np.asarray(grey)[..., None].repeat(3, 2), 0),
        ("transparent.png", colours, 0),
        ("palette.png", colours, 0),
        ("plain.jpg", colours, 6),
        ("cmyk.jpg", colours, 6),
    ):
        found = read_image(tmp_path / name)
        assert (found.dtype, tuple(found.shape)) == (torch.uint8, (3, 32, 40)), name
        difference = found.permute(1, 2, 0).numpy().astype(int) - expected
        assert np.abs(difference).max() <= tolerance, name


def test_a_cameras_orientation_is_not_applied_as_boxes_are_of_the_stored_pixels(tmp_path):
    images = write(tmp_path, content())
    path = tmp_path / "images" / "a.png"
    whole = Image.fromarray(pixels())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    whole.save(path, format="JPEG", quality=100, subsampling=0, exif=exif)
    with Image.open(path) as file:
        assert file.getexif()[0x0112] == 6
        stored = np.asarray(file)
    assert np.array_equal(images.image(7).permute(1, 2, 0).numpy(), stored)


def test_images_of_another_size_and_broken_ones_are_named(tmp_path):
    images = write(tmp_path, content())
    path = tmp_path / "images" / "a.png"
    Image.fromarray(pixels(0, HEIGHT, WIDTH)).save(path)
    with pytest.raises(DataError, match=r"a.png: is 40x32 pixels high and wide, but found.json says 32x40"):
        images.image(7)
    Image.fromarray(pixels()).save(path, format="JPEG")
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"this is no image", b"", whole[:4]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"a.png: broken image \(.+\)"):
            images.image(7)
    path.unlink()
    with pytest.raises(DataError, match=r"a.png: broken image"):
        images.image(7)
    path.mkdir()
    with pytest.raises(DataError, match=r"a.png: broken image"):
        images.image(7)


@pytest.mark.filterwarnings("ignore")  # Pillow's, on the damage
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_any_damage_to_an_image_is_its_own_error_or_harmless(tmp_path, form):
    path = tmp_path / "image"
    Image.fromarray(pixels(0, 12, 10)).save(path, format=form)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    broken, whole_ones = 0, 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in generator.integers(0, min(len(whole), generator.choice([60, len(whole)])), 3):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged[: generator.integers(1, len(whole))] if generator.random() < 0.3 else damaged)
        try:
            assert read_image(path).shape[0] == 3
        except DataError as error:
            broken += str(error).startswith(f"{path}: broken image (")
        else:
            whole_ones += 1
    assert broken > 10
    assert broken + whole_ones == 150


# Training and evaluation


def test_flipping_moves_boxes_and_masks_together(tmp_path):
    images = CocoImages(
        write_coco(tmp_path, train=6, val=1, side=64) / "annotations/instances_train2017.json", tmp_path / "train2017"
    )
    plain, flipped = (Reader(_Samples(images, 1, True, flip).read, np.array(images.ids)) for flip in (False, True))
    mirrored = 0
    for position, number in enumerate(images.ids):
        image, target = plain[position, 0]
        for seed in range(6):
            other, moved = flipped[position, seed]
            assert torch.equal(moved["labels"], target["labels"])
            if torch.equal(other, image):
                assert all(torch.equal(moved[key], target[key]) for key in target)
                continue
            mirrored += 1
            assert torch.equal(other, image.flip(-1)), number
            assert torch.equal(moved["masks"], target["masks"].flip(-1))
            for mask, box in zip(moved["masks"], moved["boxes"], strict=True):
                rows, columns = mask.nonzero().unbind(1)
                ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                torch.testing.assert_close(box, torch.stack(ends).float(), rtol=0, atol=1.1)
    assert 8 < mirrored < 28
    for position in range(len(images.ids)):  # and the file's targets are left as they were
        assert torch.equal(plain[position, 1][1]["boxes"], images.target(images.ids[position], 1)["boxes"])


def test_a_broken_image_or_mask_is_named_and_the_next_takes_its_place(tmp_path, caplog):
    images = write(tmp_path, content(annotation(1), annotation(2, image=3, segmentation=[[1, 2]])))
    (tmp_path / "images" / "a.png").write_bytes(b"broken")
    reader = Reader(_Samples(images, 1, False, False).read, np.array([7, 3]))
    with caplog.at_level(logging.WARNING):
        image, target = reader[0, 5]
    assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels(1))
    assert torch.equal(target["boxes"], images.target(3)["boxes"])
    assert f"{tmp_path / 'images' / 'a.png'}: broken image" in caplog.text
    assert "the next one takes its place" in caplog.text
    with pytest.raises(DataError, match="20 images in a row are broken: copy the data again"):
        _ = Reader(_Samples(images, 1, True, False).read, np.array([7, 3]))[0, 5]


def test_a_seed_decides_what_is_random_and_the_rest_of_the_program_is_undisturbed(tmp_path):
    images = write(tmp_path, content(annotation(1), annotation(2, image=3)))
    reader = Reader(_Samples(images, 1, False, True).read, np.array([7, 3]))
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    found = [reader[0, seed][0] for seed in range(20)]
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(image, reader[0, seed][0]) for seed, image in enumerate(found))
    assert {torch.equal(image, found[0]) for image in found} == {True, False}


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_left_out_of_evaluation_and_counted(tmp_path, caplog, workers):
    root = write_coco(tmp_path, train=1, val=4, side=48)
    images = load_splits(str(root))[1]
    (root / "val2017" / "0002.png").write_bytes(b"broken")
    torch.manual_seed(0)
    code = Code.parse("resnet50_v1{16,32,32,64,1,1,1,1,8,8,8,16}")
    network = create_detector("retinanet", code, 3, width=16, min_size=48, max_size=64, detections_per_img=5)
    network.about = replace(network.about, label_names=images.classes)
    with caplog.at_level(logging.WARNING):
        result = evaluate_detector(network, images, images.ids, World(torch.device("cpu")), workers)
    assert (result.images, result.left_out) == (3, 1)
    assert 0 <= result.row["box_AP"] <= 100
    assert result.text.endswith("of 3 images")
    if not workers:
        assert f"{root / 'val2017' / '0002.png'}: broken image" in caplog.text
        assert "it is left out" in caplog.text
        assert _Images(images).read(100)[0] == 100


def test_what_is_read_is_not_changed_by_reading(tmp_path):
    images = write(tmp_path, content(annotation(1), annotation(2, image=3, bbox=(-3, 0, 10, 10))))
    before = copy.deepcopy(images.api.dataset)
    for number in images.ids:
        images.target(number, 1, masks=True)["boxes"].add_(5)
    images.check_masks(every=True)
    assert images.api.dataset == before


def test_images_without_objects_cannot_be_evaluated_on(tmp_path):
    images = write(tmp_path, content(annotation(1, iscrowd=1)))
    network = create_detector("retinanet", Code.parse("resnet18{8,8,8,8,1,1,1,1}"), 2, width=8, min_size=32)
    with pytest.raises(DataError, match="none of 2 images to evaluate on has an object"):
        evaluate_detector(network, images, images.ids, World(torch.device("cpu")), 0)
