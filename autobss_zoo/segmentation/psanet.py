"""The point-wise spatial attention module of PSANet (Zhao et al., ECCV 2018, section 3)."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from .layers import resize


def shrunk(side: int) -> int:
    """The side of features after shrinking by 2: of 2k + 1 positions in a row, every second is kept."""
    return (side - 1) // 2 + 1


def attention_logits(maps: Tensor) -> Tensor:
    """Cut out of each position's over-completed map the window that lies on the features (Figure 3).

    The centre of a map is the position itself, and the other elements are the positions around it, so that the window
    shifts against the position. The module's authors give positions beyond the map a logit of 0, which is more than
    many within it have; here they get no attention. It makes no difference at sizes up to the training's, where every
    map covers all the features.

    Args:
        maps: (n, m * m, h, w), m odd: the m x m map that each position predicts, row by row.

    Returns:
        (n, h * w, h * w): element (a, b) is what position b predicts of position a, -inf beyond the map.
    """
    n, elements, h, w = maps.shape
    side = isqrt(elements)
    reach = side // 2
    rows, columns = torch.arange(h, device=maps.device), torch.arange(w, device=maps.device)
    down = (rows[:, None] - rows)[:, None, :, None]  # from b to a, as (row of a, 1, row of b, 1)
    right = (columns[:, None] - columns)[None, :, None, :]
    inside = (down.abs() <= reach) & (right.abs() <= reach)
    index = torch.where(inside, (down + reach) * side + right + reach, 0).reshape(h * w, h * w)
    logits = maps.flatten(2).gather(1, index.expand(n, -1, -1))
    return logits.masked_fill(~inside.reshape(h * w, h * w), float("-inf"))


class Propagation(nn.Module):
    """One branch of the module: every position receives a weighted mean of the reduced features of all positions.

    The weights are the receiving position's own prediction (collect) or the predictions of the positions that give
    (distribute); either way they sum to 1 at the position that receives.

    Args:
        channels: Of the features.
        width: Channels that they are reduced to.
        side: Of the maps, odd.
        distribute: Whether the positions that give predict the weights.
    """

    def __init__(self, channels: int, width: int, side: int, *, distribute: bool) -> None:
        super().__init__()
        self.reduce = Conv2dNormActivation(channels, width, 1)
        self.adapt = nn.Sequential(Conv2dNormActivation(width, width, 1), nn.Conv2d(width, side * side, 1, bias=False))
        self.distribute = distribute

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, width, shrunk(h), shrunk(w))."""
        reduced = self.reduce(features)
        reduced = resize(reduced, [shrunk(side) for side in reduced.shape[-2:]])
        logits = attention_logits(self.adapt(reduced))
        if self.distribute:
            logits = logits.transpose(1, 2)
        # Of each column, the rows give and the column receives.
        return torch.bmm(reduced.flatten(2), logits.softmax(1)).view_as(reduced)


class PointwiseSpatialAttention(nn.Module):
    """Features, and beside them what each position collects from all others and what all others distribute to it.

    It takes features of any size. Where they are larger than in training, positions further from each other than in
    training exchange nothing; where they are smaller, the maps' margins are unused.

    Args:
        channels: Of the features.
        width: Channels of both branches; the paper's 512.
        side: Of the features in training, which the maps are made to cover from every position.

    Attributes:
        out_channels: Of the output: twice `channels`.
    """

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        map_side = 2 * shrunk(side) - 1
        self.collect = Propagation(channels, width, map_side, distribute=False)
        self.distribute = Propagation(channels, width, map_side, distribute=True)
        self.project = Conv2dNormActivation(2 * width, channels, 1)
        self.out_channels = 2 * channels

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, out_channels, h, w)."""
        received = self.project(torch.cat([self.collect(features), self.distribute(features)], dim=1))
        return torch.cat([features, resize(received, features.shape[-2:])], dim=1)
