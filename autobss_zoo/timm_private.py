"""Every part of timm that is not public and is used here; nothing else in this package imports such.

Tested with timm 1.0.31, the oldest version that is supported and the newest there was. tests/zoo/test_timm_private.py
states what is relied on of each part, and fails where another version has changed it: this is the file to mend then.
"""

from timm.models._builder import _resolve_pretrained_source as resolve_pretrained_source
from timm.models._builder import resolve_pretrained_cfg
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, efficientnet_init_weights
from timm.models._hub import save_config_for_hf
from timm.models._pretrained import PretrainedCfg

__all__ = [
    "InvertedResidual",
    "PretrainedCfg",
    "SqueezeExcite",
    "decode_arch_def",
    "efficientnet_init_weights",
    "resolve_pretrained_cfg",
    "resolve_pretrained_source",
    "save_config_for_hf",
]
