"""Knowledge distillation: a network learns a trained one's answers beside the labels (Hinton et al., 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import WeightsError
from .pretrained import trained_network


class Teacher:
    """A trained classifier of the same classes, which sees the images that its student sees.

    Args:
        source: As of `trained_network`.
        configuration: What timm's configuration of the student says of its images, their `mean` and `std` with it.
        classes: The classes' names.
        device: Where it computes.

    Raises:
        WeightsError: If there is no such network, or its classes or channels are others.
    """

    def __init__(
        self, source: str, configuration: dict[str, Any], classes: Sequence[str], device: torch.device
    ) -> None:
        network: Any = trained_network(source, "teacher")
        own, channels = network.pretrained_cfg, configuration["input_size"][0]
        names = own.get("label_names")
        if network.num_classes != len(classes) or (names and list(names) != list(classes)):
            what = f"{network.num_classes}" if network.num_classes != len(classes) else "others of the same number"
            raise WeightsError(
                f"teacher: {source} has {what} classes, not the data's {len(classes)}; fine-tune it first"
            )
        if (has := own["input_size"][0]) != channels:
            raise WeightsError(f"teacher: {source} takes images of {has} channels, and the data have {channels}")
        self._network = network.eval().requires_grad_(False).to(device)
        mean, std = (_image(configuration[key], device) for key in ("mean", "std"))
        own_mean, own_std = (_image(own[key], device) for key in ("mean", "std"))
        self._scale, self._shift = std / own_std, (mean - own_mean) / own_std

    def loss(self, images: Tensor, logits: Tensor, temperature: float) -> Tensor:
        """The divergence of a student's answers from this one's, both at a temperature, times its square; a scalar.

        Args:
            images: As the student sees them, normalised, of shape (n, channels, height, width).
            logits: The student's, of shape (n, classes).
            temperature: By which logits are divided.
        """
        with torch.no_grad():
            wanted = F.log_softmax(self._network(images * self._scale + self._shift).float() / temperature, dim=1)
        found = F.log_softmax(logits.float() / temperature, dim=1)
        return temperature**2 * F.kl_div(found, wanted, reduction="batchmean", log_target=True)


def _image(values: Sequence[float], device: torch.device) -> Tensor:
    """A figure of each channel, to be combined with images."""
    return torch.tensor(values, device=device).reshape(1, -1, 1, 1)
