"""The networks of Channel-Bench-Macro (BCNetV2, section 6, Tables 2 and 3), for 32x32 images of 10 classes.

A code has seven digits; digit i of 1 to 4 keeps i/4 of the widest channels of layer i:

- MobileNet: 128, 768, 768, 768, 256, 1536, 1024, which are the stem's output, the hidden widths of the three blocks
  that begin at the first resolution, the output of the second resolution, the last block's hidden width, and the
  final 1x1 convolution.
- ResNet: 256, 256, 256, 512, 512, 512, 512, which are the stem's output, the middle widths of the three blocks that
  begin at the first resolution, the output of the second resolution, and the middle widths of the last two blocks.

MACs and parameters of MobileNet equal the published file's on all 16,384 keys. The ResNet file has the same form; its
networks follow Table 3, with a 1x1 shortcut where the width changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from autobss_zoo.cost import Cost, conv_bn, linear

WIDEST = {
    "mobilenet": (128, 768, 768, 768, 256, 1536, 1024),
    "resnet": (256, 256, 256, 512, 512, 512, 512),
}
_CLASSES = 10


def widths(network: str, digits: np.ndarray) -> np.ndarray:
    """Channels of the seven layers, integers of shape (n, 7), for digits of 1 to 4 of the same shape.

    Raises:
        ValueError: If the network is unknown or the digits have another shape or range.
    """
    if network not in WIDEST:
        raise ValueError(f"network: expected {' or '.join(WIDEST)}, got {network!r}")
    digits = np.asarray(digits)
    if digits.ndim != 2 or digits.shape[1] != 7 or digits.min(initial=1) < 1 or digits.max(initial=4) > 4:
        raise ValueError(f"expected digits of 1 to 4 of shape (n, 7), got {digits.shape}: {digits!r}")
    return digits * np.array(WIDEST[network]) // 4


def cost(network: str, digits: np.ndarray) -> Cost:
    """MACs and parameters, each of shape (n,), in closed form; arguments as of `widths`."""
    w = widths(network, digits).T
    stem, out = w[0], w[4]
    total = conv_bn(3, stem, 3, 16)
    if network == "mobilenet":
        for inputs, hidden, outputs, before, side in (
            (stem, w[1], stem, 16, 16), (stem, w[2], stem, 16, 16), (stem, w[3], out, 16, 8), (out, w[5], out, 8, 8)
        ):  # fmt: skip
            total += conv_bn(inputs, hidden, 1, before) + conv_bn(hidden, hidden, 3, side, depthwise=True)
            total += conv_bn(hidden, outputs, 1, side)
        return total + conv_bn(out, w[6], 1, 8) + linear(w[6], _CLASSES)
    for inputs, middle, outputs, side in (
        (stem, w[1], stem, 16), (stem, w[2], stem, 16), (stem, w[3], out, 8), (out, w[5], out, 8), (out, w[6], out, 8)
    ):  # fmt: skip
        total += conv_bn(inputs, middle, 3, side) + conv_bn(middle, outputs, 3, side)
    return total + conv_bn(stem, out, 1, 8) + linear(out, _CLASSES)


def build(network: str, digits: Sequence[int]) -> nn.Module:
    """The network of seven digits; it takes images of shape (n, 3, 32, 32) and returns logits of shape (n, 10)."""
    w = widths(network, np.array([digits]))[0].tolist()
    stem, out = w[0], w[4]
    layers: list[nn.Module] = [_conv(3, stem, 3, 2)]
    if network == "mobilenet":
        layers += [_inverted(stem, w[1], stem), _inverted(stem, w[2], stem), _inverted(stem, w[3], out, 2)]
        layers += [_inverted(out, w[5], out), _conv(out, w[6], 1)]
        head = w[6]
    else:
        layers += [_residual(stem, w[1], stem), _residual(stem, w[2], stem), _residual(stem, w[3], out, 2)]
        layers += [_residual(out, w[5], out), _residual(out, w[6], out)]
        head = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(head, _CLASSES))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.ReLU(inplace=True)] if act else []))


class _Sum(nn.Module):
    """A body and a shortcut, added."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.last = body, shortcut, last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x) + self.shortcut(x))


def _inverted(inputs: int, hidden: int, outputs: int, stride: int = 1) -> nn.Module:
    body = nn.Sequential(
        _conv(inputs, hidden, 1),
        _conv(hidden, hidden, 3, stride, groups=hidden),
        _conv(hidden, outputs, 1, act=False),
    )
    return body if stride != 1 else _Sum(body, nn.Identity(), nn.Identity())


def _residual(inputs: int, middle: int, outputs: int, stride: int = 1) -> nn.Module:
    body = nn.Sequential(_conv(inputs, middle, 3, stride), _conv(middle, outputs, 3, act=False))
    shortcut = nn.Identity() if stride == 1 else _conv(inputs, outputs, 1, stride, act=False)
    return _Sum(body, shortcut, nn.ReLU(inplace=True))
