"""timm's VGG with batch norm, without its hidden linear layers, as it is trained on images of 32x32 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.layers import ClassifierHead, get_act_layer, get_norm_layer
from timm.models.vgg import VGG
from torch import nn


class CodedVGG(VGG):
    """timm's VGG with a linear layer after the pooling.

    Args:
        stages: The widths of the convolutions of each stage; a max-pool comes before each but the first.
        output_stride: That of the stages, as there is nothing to dilate.
        num_classes, in_chans, global_pool, drop_rate, act_layer, norm_layer, device, dtype, **kwargs: As in timm's.
    """

    def __init__(
        self, stages: Sequence[Sequence[int]], num_classes=1000, in_chans=3, global_pool="avg", drop_rate=0.0,
        act_layer=nn.ReLU, norm_layer=nn.BatchNorm2d, output_stride=None, device=None, dtype=None, **kwargs,
    ):  # fmt: skip
        first, *others = stages
        if output_stride not in (None, stride := 2 ** len(others)):
            raise ValueError(f"output_stride: expected {stride}, got {output_stride!r}")
        layers: list[Any] = [*first, *(layer for stage in others for layer in ("M", *stage))]
        given = {"num_classes": num_classes, "in_chans": in_chans, "device": device, "dtype": dtype, **kwargs}
        conv: Any = partial(nn.Conv2d, bias=False)
        given |= {"act_layer": get_act_layer(act_layer), "norm_layer": get_norm_layer(norm_layer)}
        super().__init__(layers, conv_layer=conv, mlp_ratio=1 / 4096, **given)
        self.add_module("pre_logits", nn.Identity())
        self.head_hidden_size = self.num_features
        pooled = {"pool_type": global_pool, "drop_rate": drop_rate, "device": device, "dtype": dtype}
        self.head = ClassifierHead(self.num_features, num_classes, **pooled)
        self._initialize_weights()

    def parts(self) -> list[nn.Module]:
        """As of `Family.parts`."""
        found: list[list[nn.Module]] = []
        for layer in self.features:
            if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
                found.append([])
            found[-1].append(layer)
        return [*(nn.Sequential(*layers) for layers in found), self.head]
