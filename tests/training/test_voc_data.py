"""Images with a class for each pixel in VOC's format: found, checked and augmented."""

import random
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import max_pool2d

from autobss_zoo.errors import DataError
from autobss_zoo.training import TrainingRecipe
from autobss_zoo.training.data.samples import Reader, evaluation_loader
from autobss_zoo.training.data.voc import CLASSES, VocImages
from autobss_zoo.training.tasks.segmentation import _Augmented
from scenes import write_voc

WIDTH, HEIGHT = 40, 32
LISTS = "ImageSets/Segmentation"
MEAN_COLOUR = torch.tensor([0.485, 0.456, 0.406]) * 255  # ImageNet's


def class_map(seed=0, classes=21, height=HEIGHT, width=WIDTH):
    """Blocks of 8x8 pixels of a class each, the first of which is ignored."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, classes, (-(-height // 8), -(-width // 8)), dtype=np.uint8)
    blocks[0, 0] = 255
    return blocks.repeat(8, 0).repeat(8, 1)[:height, :width]


def palette_image(classes):
    image = Image.fromarray(classes)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    assert image.mode == "P"
    return image


def write(root, names=("a", "b"), part="train", masks="SegmentationClass", lines=None):
    for folder in ("JPEGImages", masks, LISTS):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        palette_image(class_map(seed)).save(root / masks / f"{name}.png")
    (root / LISTS / f"{part}.txt").write_text("\n".join(lines or names) + "\n")
    return root


# Where they are looked for


@pytest.mark.parametrize("place", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_the_folder_may_be_vocs_or_one_that_it_lies_in(tmp_path, place):
    root = write(tmp_path / place)
    images = VocImages(str(tmp_path), "train")
    assert images.pairs == [
        (root / "JPEGImages" / f"{n}.jpg", root / "SegmentationClass" / f"{n}.png") for n in ("a", "b")
    ]
    assert images.path == root / LISTS / "train.txt"


def test_images_and_the_classes_of_their_pixels_are_read(tmp_path):
    images = VocImages(str(write(tmp_path)), "train")
    for number, name in enumerate("ab"):
        image, mask = images.read(number)
        with Image.open(tmp_path / "JPEGImages" / f"{name}.jpg") as file:
            assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(file))
        assert (image.dtype, mask.dtype) == (torch.uint8, torch.uint8)
        assert np.array_equal(mask.numpy(), class_map(number))  # not the palette's colours
        assert int(mask[0, 0]) == 255


def test_grey_masks_are_read_like_those_with_a_palette(tmp_path):
    write(tmp_path)
    Image.fromarray(class_map(5)).save(tmp_path / "SegmentationClass" / "b.png")
    assert np.array_equal(VocImages(str(tmp_path), "train").read(1)[1].numpy(), class_map(5))


def test_a_mask_that_ignores_everything_is_read(tmp_path):
    write(tmp_path)
    palette_image(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(tmp_path / "SegmentationClass" / "b.png")
    assert (VocImages(str(tmp_path), "train").read(1)[1] == 255).all()


def test_masks_of_names_are_the_augmented_ones_where_there_are_any(tmp_path):
    write(tmp_path)
    (tmp_path / "SegmentationClassAug").mkdir()
    palette_image(class_map(9)).save(tmp_path / "SegmentationClassAug" / "b.png")
    images = VocImages(str(tmp_path), "train")
    assert [mask.parent.name for _, mask in images.pairs] == ["SegmentationClass", "SegmentationClassAug"]
    assert np.array_equal(images.read(0)[1].numpy(), class_map(0))
    assert np.array_equal(images.read(1)[1].numpy(), class_map(9))


def test_lists_may_hold_pairs_of_paths_and_empty_lines(tmp_path):
    lines = ["/JPEGImages/a.jpg /Masks/b.png", "", "  JPEGImages/b.jpg\tMasks/a.png  ", "b"]
    write(tmp_path, masks="Masks", lines=lines)
    write(tmp_path, part="other")
    images = VocImages(str(tmp_path), "train")
    assert [(image.name, mask.name, mask.parent.name) for image, mask in images.pairs] == [
        ("a.jpg", "b.png", "Masks"),
        ("b.jpg", "a.png", "Masks"),
        ("b.jpg", "b.png", "SegmentationClass"),
    ]
    assert np.array_equal(images.read(0)[1].numpy(), class_map(1))


def test_images_may_be_png(tmp_path):
    write(tmp_path)
    (tmp_path / "JPEGImages" / "b.jpg").unlink()
    pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "JPEGImages" / "b.png")
    assert np.array_equal(VocImages(str(tmp_path), "train").read(1)[0].permute(1, 2, 0).numpy(), pixels)


def test_classes_are_vocs_or_those_of_a_file(tmp_path):
    write(tmp_path)
    assert VocImages(str(tmp_path), "train").classes == CLASSES
    assert (len(CLASSES), CLASSES[0], CLASSES[15], CLASSES[20]) == (21, "background", "person", "tvmonitor")
    (tmp_path / "labels.txt").write_bytes("background\r\n  Kühlschrank \r\n\r\nold chair\r\n".encode())
    assert VocImages(str(tmp_path), "train").classes == ("background", "Kühlschrank", "old chair")


def test_files_of_no_or_too_many_classes_are_named(tmp_path):
    write(tmp_path)
    for text, number in (("", 0), ("\n \n", 0), ("\n".join(map(str, range(256))), 256)):
        (tmp_path / "labels.txt").write_text(text)
        with pytest.raises(DataError, match=rf"labels.txt: expected 1 to 255 classes, one in each line, got {number}"):
            VocImages(str(tmp_path), "train")
    (tmp_path / "labels.txt").write_bytes(b"background\n\xff\xfe")
    with pytest.raises(DataError, match=r"labels.txt: cannot be read \(.+\)"):
        VocImages(str(tmp_path), "train")


# What is missing or broken


def test_missing_folders_and_lists_say_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"data_dir: expected a folder with JPEGImages/.*--data-dir names it"):
        VocImages(None, "train")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=rf"{folder.name}: expected a folder with JPEGImages/, SegmentationClass/"):
            VocImages(str(folder), "train")
    write(tmp_path, part="train")
    write(tmp_path, part="val")
    with pytest.raises(DataError, match=r"train_aug.txt: there is no such list of images; there are: train, val$"):
        VocImages(str(tmp_path), "train_aug")


def test_lists_without_names_or_that_are_no_text_are_named(tmp_path):
    write(tmp_path)
    (tmp_path / LISTS / "train.txt").write_text("\n  \n")
    with pytest.raises(DataError, match=r"train.txt: names no images"):
        VocImages(str(tmp_path), "train")
    (tmp_path / LISTS / "train.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(DataError, match=r"train.txt: cannot be read \(.+\)"):
        VocImages(str(tmp_path), "train")


def test_missing_images_and_masks_are_named_and_counted(tmp_path):
    write(tmp_path, names="abc")
    (tmp_path / "SegmentationClass" / "c.png").unlink()
    with pytest.raises(DataError, match=r"SegmentationClass.c.png: is missing, and 0 more files that train.txt names"):
        VocImages(str(tmp_path), "train")
    (tmp_path / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"JPEGImages.b.jpg: is missing, and 1 more files that train.txt names"):
        VocImages(str(tmp_path), "train")


def bomb(path):
    """A PNG that says it has more pixels than Pillow would ever read."""
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)


def mask_of(array):
    return lambda path: Image.fromarray(array).save(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (mask_of(np.zeros((WIDTH, HEIGHT), np.uint8)), r"expected a class for each of the 40x32 pixels.*\(40, 32\)"),
        (mask_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), r"expected a class for each .* of shape \(32, 40, 3\)"),
        (mask_of(np.zeros((HEIGHT, WIDTH), bool)), "expected a class for each .* got torch.bool"),
        (mask_of(np.zeros((HEIGHT, WIDTH), np.uint16)), "expected a class for each .* got torch.uint16"),
        (mask_of(np.full((HEIGHT, WIDTH), 21, np.uint8)), r"has class 21, but there are 21 \(0 the background\)"),
        (mask_of(np.full((HEIGHT, WIDTH), 254, np.uint8)), "has class 254, but there are 21"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), r"broken mask \(.+\)"),
        (lambda path: path.write_bytes(b"no image"), r"broken mask \(.+\)"),
        (lambda path: path.write_bytes(b""), r"broken mask \(.+\)"),
        (lambda path: path.unlink(), r"broken mask \(.+\)"),
        (bomb, r"broken mask \(.*pixels"),
    ],
)
def test_masks_that_do_not_fit_are_named(tmp_path, spoil, message):
    images = VocImages(str(write(tmp_path)), "train")
    spoil(tmp_path / "SegmentationClass" / "b.png")
    with pytest.raises(DataError, match=rf"SegmentationClass.b.png: {message}"):
        images.read(1)
    images.read(0)


def test_the_highest_class_fits(tmp_path):
    images = VocImages(str(write(tmp_path)), "train")
    mask_of(np.full((HEIGHT, WIDTH), 20, np.uint8))(tmp_path / "SegmentationClass" / "b.png")
    assert (images.read(1)[1] == 20).all()


def test_broken_images_are_named_replaced_in_training_and_left_out_of_evaluation(tmp_path, caplog):
    images = VocImages(str(write(tmp_path, names="abc")), "train")
    path = tmp_path / "JPEGImages" / "b.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"JPEGImages.b.jpg: broken image"):
        images.read(1)
    reader = Reader(images.read, np.arange(3))
    assert torch.equal(reader[1, 0][1], images.read(2)[1])
    assert f"{path}: broken image" in caplog.text
    assert "the next one takes its place" in caplog.text
    batches = list(evaluation_loader(reader, list, 0, torch.device("cpu"), batch_size=2))
    assert [[sample is None for sample in batch] for batch in batches] == [[False, True], [False]]
    assert torch.equal(batches[1][0][1], images.read(2)[1])
    assert "it is left out" in caplog.text


# Augmented for training

COLOURS = torch.randint(0, 256, (22, 3), generator=torch.Generator().manual_seed(3)).float()
COLOURS[21] = MEAN_COLOUR  # of what is ignored below


def write_coloured(root, height=90, width=120, block=30):
    """Two images whose pixels' colours are those of their classes; none is ignored."""
    generator = np.random.default_rng(1)
    for folder in ("JPEGImages", "SegmentationClass", LISTS):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in "ab":
        classes = generator.permutation(21)[: height // block * width // block].astype(np.uint8)
        classes = classes.reshape(height // block, -1).repeat(block, 0).repeat(block, 1)
        Image.fromarray(COLOURS.byte().numpy()[classes]).save(root / "JPEGImages" / f"{name}.png")
        Image.fromarray(classes).save(root / "SegmentationClass" / f"{name}.png")
    (root / LISTS / "train.txt").write_text("a\nb\n")
    return VocImages(str(root), "train")


def augmented(images, **changes):
    plain = {"scale": [1, 1], "rotate": 0, "blur": False, "flip": False, "input_size": 64}
    recipe = TrainingRecipe.load("voc/pspnet_r50", {**plain, **changes})[0]
    return Reader(_Augmented(images, recipe).read, np.arange(len(images.pairs)))


ALL = {"scale": [0.5, 2], "rotate": 10, "blur": True, "flip": True}


@pytest.mark.parametrize(
    "changes",
    [{}, {"scale": [0.5, 2]}, {"rotate": 45}, {"blur": True}, {"flip": True}, ALL, {**ALL, "input_size": 150}],
    ids=lambda changes: "+".join(changes) or "crop",
)
def test_images_and_masks_stay_together(tmp_path, changes):
    """Where the mask is of one class around a pixel, the pixel has its colour, and the mean one where it is ignored."""
    images = write_coloured(tmp_path)
    reader = augmented(images, **changes)
    side = changes.get("input_size", 64)
    compared, ignored = 0, 0
    for seed in range(24):
        image, mask = reader[seed % 2, seed]
        assert (image.shape, mask.shape) == ((3, side, side), (side, side))
        assert (image.dtype, mask.dtype) == (torch.uint8, torch.uint8)
        assert image.is_contiguous()
        classes = torch.where(mask == 255, 21, mask.long())
        assert {*classes.unique().tolist()} <= {21, *images.read(seed % 2)[1].unique().tolist()}  # none is made up
        around = classes[None].float()
        inner = (max_pool2d(around, 9, 1) == -max_pool2d(-around, 9, 1))[0]
        expected = COLOURS[classes[4:-4, 4:-4]][inner]
        torch.testing.assert_close(image[:, 4:-4, 4:-4].permute(1, 2, 0)[inner].float(), expected, rtol=0, atol=2)
        compared += len(expected)
        ignored += int((classes[4:-4, 4:-4][inner] == 21).sum())
    assert compared > 24 * side**2 // 5
    if changes.get("rotate") == 45 or side > 120:
        assert ignored > 50
    if not {"rotate", "scale"} & changes.keys():
        assert ignored == 0


def test_small_images_are_padded_all_around_with_the_mean_colour_and_ignored_pixels(tmp_path):
    images = VocImages(str(write(tmp_path)), "train")
    image, mask = augmented(images, input_size=65)[1, 0]
    whole, classes = images.read(1)
    top, left = (65 - HEIGHT) // 2, (65 - WIDTH) // 2
    assert torch.equal(image[:, top : top + HEIGHT, left : left + WIDTH], whole)
    assert torch.equal(mask[top : top + HEIGHT, left : left + WIDTH], classes)
    outside = torch.ones(65, 65, dtype=torch.bool)
    outside[top : top + HEIGHT, left : left + WIDTH] = False
    assert (mask[outside] == 255).all()
    difference = image.permute(1, 2, 0)[outside].float() - MEAN_COLOUR
    assert difference.abs().max() <= 1


def test_crops_are_windows_from_everywhere(tmp_path):
    images = VocImages(str(write(tmp_path)), "train")
    reader = augmented(images, input_size=30)
    whole, classes = images.read(0)
    found = set()
    for seed in range(100):
        image, mask = reader[0, seed]
        places = [
            (top, left)
            for top in range(HEIGHT - 29)
            for left in range(WIDTH - 29)
            if torch.equal(whole[:, top : top + 30, left : left + 30], image)
        ]
        ((top, left),) = places
        assert torch.equal(mask, classes[top : top + 30, left : left + 30])
        found.add((top, left))
    assert {top for top, _ in found} == set(range(3))
    assert {left for _, left in found} == set(range(11))


def test_images_and_masks_are_mirrored_together_in_half_of_the_cases(tmp_path):
    images = VocImages(str(write(tmp_path)), "train")
    reader = augmented(images, flip=True, input_size=40)
    whole, classes = augmented(images, input_size=40)[0, 0]
    mirrored = 0
    for seed in range(60):
        image, mask = reader[0, seed]
        turned = not torch.equal(image, whole)
        assert torch.equal(image.flip(-1) if turned else image, whole)
        assert torch.equal(mask.flip(-1) if turned else mask, classes)
        mirrored += turned
    assert 15 < mirrored < 45


def test_a_seed_decides_what_is_random_and_the_rest_of_the_program_is_undisturbed(tmp_path):
    reader = augmented(write_coloured(tmp_path), **ALL)
    random.seed(1)
    expected = random.random()
    random.seed(1)
    found = [reader[0, seed] for seed in range(10)]
    assert random.random() == expected
    for seed, (image, mask) in enumerate(found):
        random.seed(seed + 100)
        again = reader[0, seed]
        assert torch.equal(again[0], image)
        assert torch.equal(again[1], mask)
    assert len({image.numpy().tobytes() for image, _ in found}) == 10


def test_the_scenes_of_other_tests_are_read(tmp_path):
    images = VocImages(str(write_voc(tmp_path, train=4, val=1, side=48)), "train")
    assert images.classes == ("background", "disc", "square", "triangle")
    classes = {c for number in range(4) for c in images.read(number)[1].unique().tolist()}
    assert {0, 255} < classes <= {0, 1, 2, 3, 255}
