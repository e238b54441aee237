"""What users of timm do with a model, on every family."""

import copy
import pickle

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from timm.layers import BlurPool2d
from timm.optim import create_optimizer_v2
from torch import nn
from torchvision import models as torchvision_models

import autobss_zoo
from autobss_zoo import Setting, create_model, list_models
from autobss_zoo.families import family_of, get_family
from autobss_zoo.models import FROM_CODE
from autobss_zoo.timm_private import SqueezeExcite
from autobss_zoo.weights import adapt_state_dict
from conftest import EACH_BLOCK, EVERY_FAMILY, codes, exports, long, tiny

SIZE = 64
every_family = pytest.mark.parametrize("family", EVERY_FAMILY)


def build(family: str, **kwargs) -> nn.Module:
    """Through timm itself."""
    torch.manual_seed(0)
    return timm.create_model(FROM_CODE, code=str(tiny(family)), **kwargs)


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", list_models())
def test_both_spellings_are_in_timm_and_the_zoo(name):
    entry = autobss_zoo.get(name)
    assert entry is autobss_zoo.get(entry.timm_name)
    assert {name, entry.timm_name} <= set(timm.list_models())
    assert entry.timm_name in timm.list_models("autobss*")
    for spelling in (name, entry.timm_name):
        with torch.device("meta"):
            assert timm.create_model(spelling).about.code == create_model(spelling).about.code == entry.code
        size = entry.setting.input_size if entry.weights else entry.family.image_side(entry.code)
        assert tuple(timm.get_pretrained_cfg(spelling).input_size[1:]) == (size, size)
    assert timm.is_model_pretrained(name) == bool(entry.weights)


def test_the_hand_made_mobilenetv1_is_timms():
    ours, theirs = create_model("mnv1{32,64,128,256,512,1024,1,2,2,6,2}"), timm.create_model("mobilenetv1_100")
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours.eval()(images(1, 3, SIZE, SIZE)), theirs.eval()(images(1, 3, SIZE, SIZE)))


@every_family
def test_classifier_arguments(family):
    model = build(family, num_classes=10, in_chans=1, drop_rate=0.1, global_pool="avg").eval()
    logits = model(images(2, 1, SIZE, SIZE))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()
    features = model.forward_features(images(2, 1, SIZE, SIZE))
    assert features.shape[:2] == (2, model.num_features)
    assert torch.equal(model.forward_head(features), logits)
    model.reset_classifier(3)
    assert model(images(2, 1, SIZE, SIZE)).shape == (2, 3)
    assert build(family, num_classes=0)(images(2, 3, SIZE, SIZE)).shape == (2, model.num_features)


@every_family
@pytest.mark.parametrize("wrapper", [None, "list", "dict", "hook", "fx", "getter"])
def test_features_only(family, wrapper):
    options = {} if wrapper is None else {"feature_cls": wrapper}
    levels = len(build(family, features_only=True).feature_info)
    model = build(family, features_only=True, out_indices=(levels // 3, levels - 1), **options).eval()
    features = model(images(1, 3, SIZE, SIZE))
    features = list(features.values()) if isinstance(features, dict) else features
    assert [f.shape[1] for f in features] == model.feature_info.channels()
    assert [SIZE // f.shape[2] for f in features] == model.feature_info.reduction()
    *stages, _ = get_family(family).plan(tiny(family), Setting(SIZE)).stages
    assert model.feature_info.reduction()[-1] == np.prod([b.stride for stage in stages for b in stage.blocks])


@every_family
def test_output_stride_dilates(family):
    full = build(family, features_only=True).feature_info.reduction()[-1]
    few = {
        "channel_bench_mobilenet": (2,),
        "channel_bench_resnet": (),
        "channel_bench_resnet_r": (),
        "vgg19_widths": (),
    }
    for stride in few.get(family, (full // 2, full // 4)):  # timm dilates no stem
        model = build(family, features_only=True, output_stride=stride).eval()
        assert model.feature_info.reduction()[-1] == stride
        assert model(images(1, 3, SIZE, SIZE))[-1].shape[2] == SIZE // stride
    with pytest.raises(ValueError, match="output_stride: expected"):
        build(family, output_stride=7)


@every_family
def test_forward_intermediates(family):
    model = build(family).eval()
    final, intermediates = model.forward_intermediates(images(1, 3, SIZE, SIZE))
    wrapped = build(family, features_only=True).eval()
    for ours, theirs in zip(intermediates, wrapped(images(1, 3, SIZE, SIZE)), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(final, model.forward_features(images(1, 3, SIZE, SIZE)))


@pytest.mark.parametrize("family", [*EACH_BLOCK, *long(*(f for f in EVERY_FAMILY if f not in EACH_BLOCK))])
def test_training_step_reaches_every_parameter(family):
    """In bf16 autocast and channels_last, with stochastic depth and gradient checkpointing."""
    model = build(family, num_classes=5, drop_path_rate=0.1).to(memory_format=torch.channels_last).train()
    model.set_grad_checkpointing(True)
    for module in model.modules():  # zero-initialised residual branches would hide the gradients of what is before
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        if isinstance(module, SqueezeExcite) and isinstance(module.act1, nn.ReLU):
            nn.init.ones_(module.conv_reduce.bias)  # of one channel a ReLU may never be above 0
    optimizer = create_optimizer_v2(model, "sgd", lr=0.1, weight_decay=1e-4, layer_decay=0.9)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    inputs = images(8, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    for _ in range(3):  # a dropped path gives its block no gradient in that step
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(inputs), torch.arange(8) % 5)
        loss.backward()
    assert loss.isfinite()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [n for n, p in model.named_parameters() if not p.grad.any()] == []
    optimizer.step()
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


@every_family
def test_pickle_and_deepcopy(family):
    model = build(family).eval()
    expected = model(images(1, 3, SIZE, SIZE))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(images(1, 3, SIZE, SIZE)), expected)
        assert twin.about.code == model.about.code == tiny(family)


@exports
@pytest.mark.parametrize("family", [*EACH_BLOCK[::3], *long(*EACH_BLOCK[1::3], *EACH_BLOCK[2::3])])
def test_compile_and_export(family):
    model = build(family, num_classes=5).eval()
    expected = model(images(2, 3, SIZE, SIZE))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images(2, 3, SIZE, SIZE)), expected)
    exported = torch.export.export(model, (images(2, 3, SIZE, SIZE),))
    torch.testing.assert_close(exported.module()(images(2, 3, SIZE, SIZE)), expected)


@pytest.mark.parametrize("family", EACH_BLOCK)
@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_torchscript(family):
    model = build(family, num_classes=5).eval()
    scripted = torch.jit.script(model)
    torch.testing.assert_close(scripted(images(2, 3, SIZE, SIZE)), model(images(2, 3, SIZE, SIZE)))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["efficientnet_b0_small", *long("resnet18", "resnet50", "mnv2")])
def test_compile_with_inductor(family):
    model = build(family, num_classes=5)
    compiled = torch.compile(model)
    inputs = images(2, 3, SIZE, SIZE)
    torch.testing.assert_close(compiled(inputs), model(inputs), rtol=1e-3, atol=1e-3)
    compiled(inputs).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@every_family
def test_other_layers(family):
    """timm's options for layers reach the blocks that are the zoo's own, too."""
    blurs = get_family(family).base not in ("mnv1", "vgg19")  # timm's own cannot
    options = {"aa_layer": BlurPool2d} if blurs else {}
    model = build(family, act_layer="silu", norm_layer="batchnorm2d", **options).eval()
    assert model(images(2, 3, SIZE, SIZE)).isfinite().all()
    assert any(isinstance(m, nn.SiLU) for m in model.modules())
    assert any(isinstance(m, BlurPool2d) for m in model.modules()) == blurs


@pytest.mark.parametrize("fixed", ["stem_type", "stem_width", "cardinality"])
def test_what_the_family_fixes_cannot_be_overridden(fixed):
    with pytest.raises(TypeError, match=f"{fixed} is fixed by the family"):
        build("resnet18", **{fixed: "deep" if fixed == "stem_type" else 2})


@settings(max_examples=25)
@given(codes())
def test_any_valid_code_is_a_network(code):
    model = create_model(code, num_classes=3)
    assert model(images(2, 3, 32, 32)).shape == (2, 3)
    widths = model.feature_info[1:] if "resnet" in code.family else model.feature_info[-4:]
    *_, last, _ = family_of(code).plan(code).stages
    assert widths[-1]["num_chs"] == last.outputs


@settings(max_examples=10)
@given(codes("mnv2"))
def test_hidden_widths_are_exact(code):
    model = create_model(code)
    for stage, expansion in zip(model.blocks[1:], code.expansions, strict=True):
        for block in stage:
            if expansion > 1:
                assert block.conv_dw.out_channels == block.conv_pw.in_channels * expansion


def perturbed(model: nn.Module) -> nn.Module:
    """Statistics and scales as after training, so that every tensor matters."""
    generator = torch.Generator().manual_seed(1)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
    return model.eval()


# The largest difference relative to the largest logit. ResNets are bit-identical; torchvision's MobileNetV2 and
# EfficientNet compute activations and means by other kernels.
@pytest.mark.parametrize(
    ("name", "theirs", "tolerance"),
    [
        ("resnet18_original", lambda: torchvision_models.resnet18(), 0),
        ("resnet50_original", lambda: torchvision_models.resnet50(), 0),
        ("mnv2_original", lambda: torchvision_models.mobilenet_v2(), 1e-5),
        ("efficientnet_b0_original", lambda: torchvision_models.efficientnet_b0(), 1e-5),
        ("efficientnet_b1_original", lambda: torchvision_models.efficientnet_b1(), 1e-5),
        ("resnet18_original", lambda: timm.create_model("resnet18"), 0),
        ("resnet50_original", lambda: timm.create_model("resnet50"), 0),
        ("mnv2_original", lambda: timm.create_model("mobilenetv2_100"), 0),
        ("efficientnet_b0_original", lambda: timm.create_model("efficientnet_b0"), 0),
        ("efficientnet_b1_original", lambda: timm.create_model("efficientnet_b1"), 0),
    ],
)
def test_original_codes_are_the_original_networks(name, theirs, tolerance, tmp_path):
    theirs = perturbed(theirs())
    path = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), path)
    ours = create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}).eval()
    inputs = images(2, 3, 128, 128)
    with torch.inference_mode():
        expected, actual = theirs(inputs), ours(inputs)
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()
    assert ours.load_state_dict(adapt_state_dict(theirs.state_dict(), ours), strict=True)


def test_a_state_dict_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(torchvision_models.mobilenet_v2(width_mult=0.5).state_dict(), path)
    with pytest.raises(RuntimeError, match=r"Missing key|size mismatch"):
        create_model("mnv2_original", pretrained=True, pretrained_cfg_overlay={"file": str(path)})
