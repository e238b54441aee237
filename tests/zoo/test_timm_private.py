"""What is relied on of timm's private parts.

What fails here says that timm has changed: mend autobss_zoo/timm_private.py first, and then what uses it.
"""

import dataclasses
import re
from inspect import Parameter, signature
from pathlib import Path

import pytest
import timm
import torch

import autobss_zoo
from autobss_zoo import timm_private

MEND = f"timm {timm.__version__} has changed a private part: mend autobss_zoo/timm_private.py (tested with 1.0.31)"
PARAMETERS = {
    "resolve_pretrained_source": ["pretrained_cfg"],
    "resolve_pretrained_cfg": ["variant", "pretrained_cfg", "pretrained_cfg_overlay"],
    "decode_arch_def": ["arch_def"],
    "efficientnet_init_weights": ["model"],
    "save_config_for_hf": ["model", "config_path", "model_config", "model_args"],
}


@pytest.mark.parametrize(("name", "names"), PARAMETERS.items())
def test_functions_take_what_is_given_to_them(name, names):
    known = signature(getattr(timm_private, name)).parameters
    assert names == list(known)[: len(names)], MEND
    needed = [p.name for p in known.values() if p.default is Parameter.empty]
    assert set(needed) <= set(names), MEND


def test_sources_are_told_apart():
    source = timm_private.resolve_pretrained_source
    assert source({}) == ("", ""), MEND
    assert source({"file": "a"}) == ("file", "a"), MEND
    assert source({"hf_hub_id": "a/b"}) == ("hf-hub", "a/b"), MEND
    assert source({"hf_hub_id": "a/b", "hf_hub_filename": "c"}) == ("hf-hub", ("a/b", "c")), MEND
    assert source({"file": "a", "hf_hub_id": "a/b", "source": "local-dir"}) == ("local-dir", "a"), MEND


def test_configurations():
    cfg = timm_private.resolve_pretrained_cfg("resnet18", {"num_classes": 3}, {"mean": (1.0,)}).to_dict()
    assert (cfg["architecture"], cfg["num_classes"], cfg["mean"]) == ("resnet18", 3, (1.0,)), MEND
    fields = {field.name for field in dataclasses.fields(timm_private.PretrainedCfg)}
    used = {"input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "num_classes", "label_names"}
    assert used | {"file", "hf_hub_id", "source", "first_conv", "classifier", "license"} <= fields, MEND


def test_blocks_of_efficientnet():
    ((block, again),) = timm_private.decode_arch_def([["ir_r2_k5_s2_e6_c24_se0.25"]])
    assert (block["block_type"], block["dw_kernel_size"], block["stride"], block["exp_ratio"]) == ("ir", 5, 2, 6), MEND
    assert (block["out_chs"], block["se_layer"] if "se_layer" in block else block["se_ratio"]) == (24, 0.25), MEND
    assert again == block, MEND
    module = timm_private.InvertedResidual(8, 8, exp_ratio=3)
    names = {"conv_pw", "bn1", "conv_dw", "bn2", "aa", "se", "conv_pwl", "bn3", "drop_path"}
    assert names <= {name for name, _ in module.named_children()}, MEND
    timm_private.efficientnet_init_weights(module)
    assert not torch.any(module.bn1.bias), MEND


def test_no_other_file_uses_private_parts():
    """Private are modules and names that begin with an underscore."""
    for root in (Path(autobss_zoo.__file__).parent, Path(autobss_zoo.__file__).parents[1] / "search"):
        for file in root.rglob("*.py"):
            if file.name != "timm_private.py":
                used = re.findall(r"(?:from|import) timm[\w.]*\._\w+|from timm[\w.]* import _\w+", file.read_text())
                assert not used, f"{file}: {used}: use autobss_zoo/timm_private.py"


def test_squeeze_excite():
    known = signature(timm_private.SqueezeExcite).parameters
    assert {"rd_ratio", "gate_layer", "force_act_layer"} <= set(known), MEND
    names = {name for name, _ in timm_private.SqueezeExcite(8).named_children()}
    assert {"conv_reduce", "act1", "conv_expand", "gate"} <= names, MEND
