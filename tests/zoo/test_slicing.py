"""Networks as parts of a supernet: of every family, bit-identical to the network that the family builds."""

import numpy as np
import pytest
import torch

from autobss_zoo import Code, get_family
from autobss_zoo.families import FAMILIES as REGISTERED
from autobss_zoo.supernets.slicing import Path, Supernet

FAMILIES = [name for name in sorted(REGISTERED) if not name.endswith("_r")]  # those build the same networks
LARGE = [name for name in FAMILIES if get_family(name).input_size > 32]
OPTIONS = {"num_classes": 5, "in_chans": 1}


def _least(field, value):
    if field.title == "operation":
        return value - (value - 1) % 3  # the same with the smallest kernel: others have layers of their own
    return max(field.low, value // 4) if field.scales or field.part_of else field.low


def narrow(family):
    """A quarter of the hand-made code's widths, and one of what else there is."""
    elements = family.layout.divide(family.original)
    least = [_least(field, value) for field in family.fields for value in elements[field.symbol]]
    return np.minimum(least, family.original)


def random_code(family, rng):
    return Code(family.name, tuple(rng.integers(narrow(family), np.array(family.original) + 1).tolist()))


def with_operations(family):
    """The original with each operation in all blocks, up to the number of the block's own."""
    chosen = np.array([field.title == "operation" for field in family.fields for _ in field.names])
    original = np.array(family.original)
    for number in range(1, int(original[chosen].max(initial=0)) + 1):
        yield Code(family.name, tuple(np.where(chosen, np.minimum(original, number), original).tolist()))


def supernet(family, apart=False):
    torch.manual_seed(0)
    ends = Code(family.name, family.original), Code(family.name, tuple(narrow(family).tolist()))
    return Supernet(*ends, with_operations(family), apart, **OPTIONS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in FAMILIES]
)
def test_a_path_is_the_network_that_the_family_builds(name):
    family, rng = get_family(name), np.random.default_rng(0)
    whole = supernet(family).train()
    images = torch.rand(2, 1, *[max(family.input_size // 2, 7)] * 2)
    for right in (False, True):
        path = Path(random_code(family, rng), right)
        network = family.build(path.code, **OPTIONS).train()
        weights = whole.weights(path)
        own = dict(network.named_parameters())
        assert own.keys() == weights.keys()
        for key, parameter in own.items():
            parameter.data.copy_(weights[key])
        expected, (found,) = network(images), whole(images, [path])
        assert torch.equal(found, expected)
        expected.square().sum().backward()
        whole.zero_grad()
        found.square().sum().backward()
        gradients = {key: parameter.grad for key, parameter in whole.named_parameters()}
        for key, parameter in own.items():
            part = whole.weights(path)[key]
            assert part.shape == parameter.shape
            held = gradients[key][_where(gradients[key].shape, parameter.shape, right)]
            assert torch.equal(held, parameter.grad)
            assert gradients[key].count_nonzero() == parameter.grad.count_nonzero()


def _where(whole, shape, right):
    starts = [
        (w - s) // 2 if axis > 1 else (w - s) * right for axis, (w, s) in enumerate(zip(whole, shape, strict=True))
    ]
    return tuple(slice(start, start + s) for start, s in zip(starts, shape, strict=True))


def test_paths_of_one_call_are_those_of_calls_of_their_own():
    family, rng = get_family("resnet18_small"), np.random.default_rng(1)
    whole = supernet(family)
    paths = [Path(random_code(family, rng), right) for right in (False, True, False)]
    images = torch.rand(4, 1, 8, 8)
    together = whole(images, paths)
    for path, found in zip(paths, together, strict=True):
        assert torch.equal(found, whole(images, [path])[0])
    sum(found.sum() for found in together).backward()
    gradient = whole.fc.weight.grad.clone()
    whole.zero_grad()
    for path in paths:
        whole(images, [path])[0].sum().backward()
    torch.testing.assert_close(whole.fc.weight.grad, gradient)


def test_evaluation_takes_the_batchs_statistics_and_keeps_none():
    family = get_family("mnv2_small")
    whole = supernet(family).eval()
    path, images = Path(Code("mnv2_small", family.original)), torch.rand(8, 1, 16, 16)
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    with torch.no_grad():
        (found,) = whole(images, [path])
        assert torch.equal(found, whole.train()(images, [path])[0])
    assert all(torch.equal(value, before[key]) for key, value in whole.state_dict().items())
    assert not [key for key in before if "running" in key]


def test_codes_of_two_families_are_refused():
    with pytest.raises(ValueError, match="expected two codes of one family"):
        Supernet(Code("mnv2", get_family("mnv2").original), Code("resnet18", get_family("resnet18").original))


def test_a_depthwise_convolution_of_one_channel_is_none_of_all_channels():
    family = get_family("width_bench_mobilenet")
    whole = Supernet(Code(family.name, family.original), Code(family.name, (1,) * 6), **OPTIONS)
    images = torch.rand(2, 1, 7, 7)
    for widths in ((2, 1, 1, 3, 1, 4), (3, 5, 7, 4, 9, 6)):  # of the same structure, of which one network is kept
        path = Path(Code(family.name, widths))
        network = family.build(path.code, **OPTIONS).train()
        network.load_state_dict(whole.weights(path), strict=False)
        assert torch.equal(whole.train()(images, [path])[0], network(images))


def test_paths_see_images_of_the_sides_that_their_codes_state():
    torch.manual_seed(0)
    family = get_family("mnv1_small_r")
    original = np.array(family.original)
    least = np.append(narrow(get_family("mnv1_small")), 16)
    whole = Supernet(Code(family.name, tuple(original.tolist())), Code(family.name, tuple(least.tolist())), **OPTIONS)
    sides = (32, 20, 16)
    paths = [Path(Code(family.name, (*least[:-1].tolist(), side))) for side in sides]
    images = torch.rand(4, 1, 32, 32)
    for side, path, logits in zip(sides, paths, whole(images, paths), strict=True):
        small = torch.nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
        network = whole.network(path).train()
        assert torch.equal(logits, network(small if side < 32 else images))


def test_operations_apart_share_no_weights_and_the_same_ones_do():
    family, rng = get_family("scalenet_tiny"), np.random.default_rng(0)
    whole, images = supernet(family, apart=True).train(), torch.rand(2, 1, 14, 14)
    for right in (False, True):
        path = Path(random_code(family, rng), right)
        network = family.build(path.code, **OPTIONS).train()
        network.load_state_dict(whole.weights(path), strict=False)
        assert torch.equal(whole(images, [path])[0], network(images))
    original = np.array(family.original)
    slot = family.layout.names.index("O2.2")
    one, other = (Code(family.name, tuple(np.where(np.arange(len(original)) == slot, n, original))) for n in (13, 16))
    weights, others = (whole.weights(Path(code)) for code in (one, other))
    shared = {key for key in weights if weights[key].data_ptr() == others[key].data_ptr()}
    assert weights.keys() - shared == {key for key in weights if key.startswith("blocks.1.1.")}
    together = supernet(family)
    same, again = (together.weights(Path(code))["blocks.1.1.conv_pw.weight"] for code in (one, other))
    assert same.data_ptr() == again.data_ptr()


def test_few_of_many_structures_are_kept(monkeypatch):
    monkeypatch.setattr("autobss_zoo.supernets.slicing._SKELETONS", 4)
    family, rng = get_family("scalenet_tiny"), np.random.default_rng(0)
    whole, images = supernet(family), torch.rand(2, 1, 14, 14)
    paths = [Path(random_code(family, rng)) for _ in range(12)]
    first = whole(images, paths)
    assert len(whole._skeletons) <= 4
    for one, path in zip(first, paths, strict=True):
        assert torch.equal(whole(images, [path])[0], one)
