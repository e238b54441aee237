"""PSPNet and PSANet against their papers' equations, written out in loops; the sliding window against brute force."""

import json
import math

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from autobss_zoo import Code
from autobss_zoo.errors import CodeError, UnknownNameError
from autobss_zoo.families import FAMILIES, family_of
from autobss_zoo.families.resnet import ResNetFamily
from autobss_zoo.segmentation import SEGMENTERS, create_segmenter, predict
from autobss_zoo.segmentation.psanet import PointwiseSpatialAttention
from autobss_zoo.segmentation.pspnet import PyramidPooling
from conftest import long, tiny

RESNET50 = Code.parse("resnet50{256,512,1024,2048,3,4,6,3,64,128,256,512}")
TINY = Code.parse("resnet50{16,32,32,64,1,1,1,1,8,8,8,16}")
every_architecture = pytest.mark.parametrize("architecture", SEGMENTERS)
resnet_families = pytest.mark.parametrize(
    "family", [name for name, family in FAMILIES.items() if isinstance(family, ResNetFamily)]
)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shake(model: nn.Module) -> nn.Module:
    """Give batch norms weights and statistics as after training: fresh ones hide mistakes, and zero stops gradients."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.2)
    return model


def build(architecture: str, code: Code = TINY, **kwargs):
    torch.manual_seed(0)
    return shake(create_segmenter(architecture, code, **{"num_classes": 5, "width": 16, "input_size": 65, **kwargs}))


@every_architecture
@pytest.mark.parametrize("size", [(65, 65), (49, 66), (34, 57)])
def test_gradients_reach_every_parameter(architecture, size):
    model = build(architecture, dropout=0.0).train()
    outputs = model(images(2, 3, *size))
    assert list(outputs) == ["out", "aux"]
    labels = torch.randint(5, (2, *size), generator=torch.Generator().manual_seed(2))
    sum(F.cross_entropy(logits, labels) for logits in outputs.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@every_architecture
@pytest.mark.parametrize("size", [(1, 1), (8, 3), (33, 33), (50, 41), (64, 65), (97, 130)])
def test_logits_have_the_size_of_the_images(architecture, size):
    model = build(architecture).eval()
    with torch.no_grad():
        outputs = model(images(2, 3, *size))
    assert list(outputs) == ["out"]
    assert outputs["out"].shape == (2, 5, *size)
    assert outputs["out"].isfinite().all()


@every_architecture
@resnet_families
def test_every_resnet_family(architecture, family):
    model = build(architecture, tiny(family)).train()
    outputs = model(images(2, 3, 41, 35))
    assert [logits.shape for logits in outputs.values()] == [(2, 5, 41, 35)] * 2


@every_architecture
def test_auxiliary_classifier_is_optional_and_of_training_only(architecture):
    model, without = build(architecture, dropout=0.0), build(architecture, dropout=0.0, aux_loss=False)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("aux_classifier.")}
    assert len(state) < len(model.state_dict())
    without.load_state_dict(state)
    batch = images(2, 3, 33, 33)
    assert list(without.train()(batch)) == ["out"]
    assert torch.equal(model.train()(batch)["out"], without.train().requires_grad_(False)(batch)["out"])


def test_auxiliary_logits_are_of_the_third_stage():
    model = build("pspnet", dropout=0.0).train()
    batch = images(2, 3, 33, 33)
    before = model(batch)
    with torch.no_grad():
        for parameter in model.backbone.layer4.parameters():
            parameter.mul_(-1)
    after = model(batch)
    assert torch.equal(before["aux"], after["aux"])
    assert not torch.allclose(before["out"], after["out"])


@every_architecture
def test_evaluation_is_deterministic_and_of_each_image_alone_and_training_drops_channels(architecture):
    model = build(architecture, dropout=0.5).eval()
    batch = images(3, 3, 33, 41)
    with torch.no_grad():
        logits = model(batch)["out"]
        assert torch.equal(model(batch)["out"], logits)
        torch.testing.assert_close(model(batch[1:2])["out"], logits[1:2], rtol=1e-4, atol=1e-4)
        model.train()
        seeded = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            seeded.append(model(batch)["out"])
    assert torch.equal(seeded[0], seeded[1])
    assert not torch.allclose(seeded[0], seeded[2])


@every_architecture
def test_rebuilt_from_its_arguments(architecture):
    model = build(architecture, dropout=0.2, input_size=49).eval()
    assert (model.about.task, model.about.architecture, model.about.code) == ("segmentation", architecture, TINY)
    arguments = json.loads(json.dumps(model.about.arguments))
    again = create_segmenter(model.about.architecture, Code.parse(str(model.about.code)), **arguments).eval()
    again.load_state_dict(model.state_dict())
    assert again.about.arguments == model.about.arguments
    assert [m.p for m in again.modules() if isinstance(m, nn.Dropout2d)] == [0.2, 0.2]
    with torch.no_grad():
        assert torch.equal(again(images(1, 3, 65, 49))["out"], model(images(1, 3, 65, 49))["out"])


def test_exports():
    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = build("psanet").eval()

        def forward(self, batch: Tensor) -> Tensor:
            return self.model(batch)["out"]

    model = Logits()
    program = torch.export.export(model, (images(2, 3, 33, 33),), dynamic_shapes=({0: torch.export.Dim("n")},))
    other = images(3, 3, 33, 33, seed=3)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(other), model(other))


def test_unknown_architecture_and_code_of_no_resnet():
    with pytest.raises(UnknownNameError, match="did you mean pspnet"):
        create_segmenter("pspnt", TINY)
    with pytest.raises(CodeError, match="expected a code of a ResNet"):
        create_segmenter("pspnet", tiny("mnv2"))


# The backbone.


@pytest.mark.parametrize("make", [torchvision.models.resnet50, lambda: timm.create_model("resnet50")])
def test_classifiers_load_into_the_original_backbone(make):
    with torch.device("meta"):
        model, classifier = create_segmenter("pspnet", RESNET50), make()
    state = {name: tensor for name, tensor in classifier.state_dict().items() if not name.startswith("fc.")}
    assert len(state) == len(classifier.state_dict()) - 2
    model.backbone.load_state_dict(state, strict=True)


def test_classifier_of_a_code_loads_into_its_backbone():
    state = family_of(TINY).build(TINY).state_dict()
    build("psanet").backbone.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")}, strict=True)


@resnet_families
@pytest.mark.parametrize("equal", [False, True])
def test_dilated_features_contain_those_of_the_classifier(family, equal):
    """At every position that the classifier's strides keep; also where a stage is as wide as the one before."""
    code = tiny(family)
    if equal:
        code = Code(family, (12,) * 4 + code.values[4:])
    classifier = shake(family_of(code).build(code)).eval()
    model = create_segmenter("pspnet", code, width=8).eval()
    model.backbone.load_state_dict({k: v for k, v in classifier.state_dict().items() if not k.startswith("fc.")})
    batch = images(1, 3, 97, 70)
    with torch.no_grad():
        expected = classifier.forward_features(batch)
        dense = model.backbone.forward_features(batch)
    assert dense.shape[2:] == (13, 9)
    assert [stage["reduction"] for stage in model.backbone.feature_info][-1] == 8
    step = 1 if FAMILIES[family].small else 4
    torch.testing.assert_close(dense[:, :, ::step, ::step], expected, rtol=1e-4, atol=1e-4)


def test_features_are_those_of_torchvisions_dilated_resnet50():
    torch.manual_seed(0)
    dilated = shake(torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True])).eval().double()
    stages = torchvision.models._utils.IntermediateLayerGetter(dilated, {"layer3": "aux", "layer4": "out"})
    model = create_segmenter("pspnet", RESNET50, width=8).eval().double()
    model.backbone.load_state_dict({k: v for k, v in dilated.state_dict().items() if not k.startswith("fc.")})
    batch = images(1, 3, 41, 33).double()  # processors round floats differently
    with torch.no_grad():
        expected = stages(batch)
        aux, out = model.backbone.forward_intermediates(batch, indices=2, intermediates_only=True)
    assert out.shape == (1, 2048, 6, 5)
    torch.testing.assert_close(aux, expected["aux"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out, expected["out"], rtol=1e-9, atol=1e-9)


# Parameters at full size, as sums of layers.


def conv(inputs: int, outputs: int, kernel: int) -> int:
    """Without bias, and its batch norm."""
    return inputs * outputs * kernel**2 + 2 * outputs


BODY = 25_557_032 - (2048 * 1000 + 1000)  # torchvision's published figure of ResNet50, less its last layer
AUX = conv(1024, 256, 3) + 256 * 21 + 21
CLASSIFIER = conv(4096, 512, 3) + 512 * 21 + 21


def test_parameters_of_pspnet50():
    with torch.device("meta"):
        model = create_segmenter("pspnet", RESNET50)
    expected = BODY + 4 * conv(2048, 512, 1) + CLASSIFIER + AUX
    assert sum(p.numel() for p in model.parameters()) == expected


def test_parameters_of_psanet50():
    with torch.device("meta"):
        model = create_segmenter("psanet", RESNET50)
    branch = conv(2048, 512, 1) + conv(512, 512, 1) + 512 * 59 * 59
    expected = BODY + 2 * branch + conv(1024, 2048, 1) + CLASSIFIER + AUX
    assert sum(p.numel() for p in model.parameters()) == expected


# Modules against loops.


def resized(features: Tensor, height: int, width: int) -> Tensor:
    """(n, c, h, w) resized bilinearly with aligned corners, pixel by pixel."""
    output = features.new_zeros(*features.shape[:2], height, width)
    for y in range(height):
        for x in range(width):
            for (row, dy), (column, dx) in (
                (r, c)
                for r in _neighbours(y, height, features.shape[2])
                for c in _neighbours(x, width, features.shape[3])
            ):
                output[:, :, y, x] += dy * dx * features[:, :, row, column]
    return output


def _neighbours(position: int, length: int, source_length: int) -> list[tuple[int, float]]:
    exact = position * (source_length - 1) / (length - 1) if length > 1 else 0.0
    low = min(int(exact), source_length - 1)
    return [(low, 1 - (exact - low)), (min(low + 1, source_length - 1), exact - low)]


def conv_bn_relu(block: nn.Module, features: Tensor) -> Tensor:
    """A 1x1 convolution with batch norm and ReLU, by their definitions."""
    convolution, norm = block[0], block[1]
    output = torch.einsum("oi,nihw->nohw", convolution.weight[:, :, 0, 0], features)
    mean, variance, weight, bias = (
        tensor[:, None, None] for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return ((output - mean) / (variance + norm.eps).sqrt() * weight + bias).clamp(min=0)


@pytest.mark.parametrize(("channels", "size"), [(8, (6, 6)), (8, (9, 13)), (10, (7, 6)), (8, (3, 2))])
def test_pyramid_pooling(channels, size):
    torch.manual_seed(0)
    module = shake(PyramidPooling(channels)).double().eval()
    features = images(2, channels, *size).double()
    levels = [features]
    for bins, level in zip((1, 2, 3, 6), module.levels, strict=True):
        pooled = features.new_zeros(2, channels, bins, bins)
        for i in range(bins):
            for j in range(bins):
                rows = slice(i * size[0] // bins, math.ceil((i + 1) * size[0] / bins))
                columns = slice(j * size[1] // bins, math.ceil((j + 1) * size[1] / bins))
                pooled[:, :, i, j] = features[:, :, rows, columns].mean((2, 3))
        levels.append(resized(conv_bn_relu(level[1], pooled), *size))
    expected = torch.cat(levels, dim=1)
    assert expected.shape[1] == module.out_channels == channels + 4 * (channels // 4)
    torch.testing.assert_close(module(features), expected)


def received(values: Tensor, maps: Tensor, distribute: bool) -> Tensor:
    """A branch of PSANet by its definition: for each position and each other one, its place in the predictor's map."""
    n, _, height, width = values.shape
    side = math.isqrt(maps.shape[1])
    centre = (side - 1) // 2
    maps = maps.view(n, side, side, height, width)
    positions = [(y, x) for y in range(height) for x in range(width)]
    output = torch.zeros_like(values)
    for image in range(n):
        for row, column in positions:
            weights, givers = [], []
            for other_row, other_column in positions:
                down, right = other_row - row, other_column - column
                predictor = (row, column)
                if distribute:
                    down, right, predictor = -down, -right, (other_row, other_column)
                if abs(down) <= centre and abs(right) <= centre:
                    weights.append(maps[(image, centre + down, centre + right, *predictor)].exp())
                    givers.append(values[image, :, other_row, other_column])
            output[image, :, row, column] = torch.stack(weights) / sum(weights) @ torch.stack(givers)
    return output


@pytest.mark.parametrize("size", [(9, 9), (10, 9), (5, 7), (3, 9), (1, 1), (13, 12), (17, 4)])
def test_pointwise_spatial_attention(size):
    """Of features of 9x9 in training, so that shrunk ones are 5x5 and maps 9x9; sizes beyond 10 exceed the maps."""
    torch.manual_seed(0)
    module = shake(PointwiseSpatialAttention(channels=6, width=4, side=9)).double().eval()
    features = images(2, 6, *size).double().requires_grad_()
    branches = []
    for branch in (module.collect, module.distribute):
        assert branch.adapt[1].weight.shape == (81, 4, 1, 1)
        with torch.no_grad():
            branch.adapt[1].weight.normal_(std=1.0)  # attention far from uniform
        values = conv_bn_relu(branch.reduce, features)
        values = resized(values, math.ceil(size[0] / 2), math.ceil(size[1] / 2))
        maps = torch.einsum("oi,nihw->nohw", branch.adapt[1].weight[:, :, 0, 0], conv_bn_relu(branch.adapt[0], values))
        branches.append(received(values, maps, distribute=branch is module.distribute))
    context = resized(conv_bn_relu(module.project, torch.cat(branches, dim=1)), *size)
    expected = torch.cat([features, context], dim=1)
    output = module(features)
    assert output.shape == (2, module.out_channels, *size)
    torch.testing.assert_close(output, expected)

    weights = images(*output.shape, seed=4).double()
    inputs = [features, *module.parameters()]
    gradients = torch.autograd.grad((output * weights).sum(), inputs)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), inputs)
    torch.testing.assert_close(gradients, expected_gradients)


@every_architecture
def test_prediction_of_a_network(architecture):
    model = build(architecture).eval()
    image = images(3, 33, 33)
    with torch.no_grad():
        expected = model(image[None])["out"].softmax(1)[0]
    torch.testing.assert_close(predict(model, image, crop=33, flip=False), expected)
    with pytest.raises(ValueError, match="eval mode"):
        predict(model.train(), image, crop=33)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["psanet", *long("pspnet")])
def test_full_size(architecture):
    code = Code.parse("resnet50{192,512,512,1024,9,3,6,10,24,192,256,384}")
    model = create_segmenter(architecture, code).eval()
    with torch.no_grad():
        logits = model(images(1, 3, 473, 473))["out"]
    assert logits.shape == (1, 21, 473, 473)
    assert logits.isfinite().all()
