"""Training a supernet: the task "supernet" of the trainer, of whose recipes the space says which networks there are."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path as File
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from pydantic import model_validator
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from autobss_zoo.files import write_atomically
from autobss_zoo.limits import Flag, Text
from autobss_zoo.supernets.slicing import Path, Supernet
from autobss_zoo.training import register_task
from autobss_zoo.training.convolutions import replace_convolutions
from autobss_zoo.training.metrics.accuracy import Accuracy, evaluate
from autobss_zoo.training.processes import World
from autobss_zoo.training.tasks.classification import Classification, ClassificationRecipe

from ..spaces.declared import find_space
from ..spaces.scaling import find_scaling
from ..spaces.space import Space
from .sampling import Sampling

LOWEST = 100  # codes whose losses were the lowest: priors of the search (BCNetV2, section 4.4)
STATISTICS = 2048  # images that batch norms take their statistics of, in evaluation (section 4.3)
_EVALUATED = 8  # codes that tell how far a training is
_LOOKED_AT = 50  # steps between looks at losses: each look makes a GPU wait


@register_task("supernet")
class SupernetRecipe(ClassificationRecipe):
    """What trains a supernet.

    Attributes:
        space: Which networks it has: a declared space's name, a file, or the mapping that such a file holds. Its budget
            plays no part.
        principle: unilateral, bilateral, bilateral_v2 or sandwich; as of `Sampling`.
        complement: Whether with each code its complement is trained; for bilateral principles, where it is so unless
            the recipe has a scaling.
        iterative: Whether the sides take turns.
        scaling: Of a super-supernet, whose steps each train one base under one strategy: a declared scaling's name, or
            its stages, as `find_scaling` reads them.
        hierarchical: Whether a step draws a scaling stage first, and then one of its strategies (ScaleNet, Equations 1
            and 2), or depth, width and side of those of all stages.
        share_operations: Whether a block's operations share weights, a smaller kernel the larger one's centre, where
            the paper has weights of their own for each.
    """

    task: Literal["supernet"] = "supernet"  # type: ignore[assignment]
    space: Text | dict[str, Any]
    principle: Literal["unilateral", "bilateral", "bilateral_v2", "sandwich"] = "bilateral_v2"
    complement: Flag | None = None
    iterative: Flag = False
    scaling: Text | list[dict[str, Any]] | None = None
    hierarchical: Flag = True
    share_operations: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _has_its_spaces_network(cls, values: Any) -> Any:
        if "space" in values:
            space = _free(values["space"])
            values = {**values, "model": str(space.code(space.extremes()[1].tolist()))}
        return values

    @model_validator(mode="after")
    def _is_of_its_own(self) -> SupernetRecipe:
        for name in ("weights", "teacher", "grad_checkpointing"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: is not for supernets")
        if not self.hierarchical and self.scaling is None:
            raise ValueError("hierarchical: is for a supernet with a scaling")
        self.sampling  # noqa: B018 - which checks what goes with what
        return self

    @cached_property
    def sampling(self) -> Sampling:
        """How networks are drawn."""
        bilateral = self.principle.startswith("bilateral")
        complement = bilateral and self.scaling is None if self.complement is None else self.complement
        scaling = find_scaling(self.scaling) if self.scaling is not None else None
        return Sampling(_free(self.space), self.principle, complement, self.iterative, scaling, self.hierarchical)

    @override
    def prepare(self) -> SupernetTraining:
        """As in TrainingRecipe."""
        return SupernetTraining(self)


def _free(space: Any) -> Space:
    """A space without its budget on MACs, which plays no part in training."""
    return find_space(space, {"macs": None})


class SupernetTraining(Classification):
    """The task: each part of a step draws codes, and learns from their paths' mean loss (Equations 10, 11 and 22)."""

    recipe: SupernetRecipe

    def __init__(self, recipe: SupernetRecipe) -> None:
        super().__init__(recipe)
        self._drawn = 0
        self._lowest: list[tuple[float, str]] = []  # a heap, with the highest of the losses, negative, first
        self._recent: list[tuple[str, Tensor]] = []

    @override
    def create(self) -> Supernet:
        """The untrained supernet."""
        sampling = self.recipe.sampling
        options = {"num_classes": len(self.classes), "in_chans": self.source.in_chans, **self.recipe.model_args}
        operations = sampling.operations
        apart = bool(operations) and not self.recipe.share_operations
        return Supernet(sampling.supernet, sampling.narrowest, operations, apart, replace_convolutions, **options)

    @override
    def start(self, network: nn.Module) -> tuple[str, ...]:
        return ()

    @override
    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """As in Task."""
        images, labels = batch
        sampling = self.recipe.sampling
        paths = sampling.paths(self._drawn, np.random.default_rng([self.recipe.seed, self._drawn]))
        self._drawn += 1
        first, *others = logits = model(images, paths)
        if sampling.principle == "sandwich":
            answers = first.detach().softmax(1)
            losses = [self._criterion(first, labels), *(functional.cross_entropy(other, answers) for other in others)]
        else:
            losses = [self._criterion(each, labels) for each in logits]
        self._note(paths, losses)
        return torch.stack(losses).mean()

    def _note(self, paths: list[Path], losses: list[Tensor]) -> None:
        each: dict[str, list[Tensor]] = {}
        for path, loss in zip(paths, losses, strict=True):
            each.setdefault(str(path.code), []).append(loss.detach())
        self._recent += [(code, torch.stack(own).mean()) for code, own in each.items()]
        if len(self._recent) >= _LOOKED_AT:
            self._look()

    def _look(self) -> None:
        """Read the losses of the latest steps, and keep the lowest."""
        for code, loss in self._recent:
            heapq.heappush(self._lowest, (-float(loss), code))
            if len(self._lowest) > LOWEST:
                heapq.heappop(self._lowest)
        self._recent = []

    @property
    def lowest(self) -> list[tuple[str, float]]:
        """The codes that were trained with the lowest losses, and these, the lowest first."""
        self._look()
        return [(code, -loss) for loss, code in sorted(self._lowest, reverse=True)]

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self._drawn, "lowest": self.lowest}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._drawn, self._recent = state["drawn"], []
        self._lowest = [(-loss, code) for code, loss in state["lowest"]]
        heapq.heapify(self._lowest)

    @override
    def evaluate(self, network: nn.Module, world: World) -> Accuracy:
        """The mean over some codes, always the same."""
        sampling = self.recipe.sampling
        codes = sampling.drawn(_EVALUATED, np.random.default_rng(0))
        found = [self.accuracy(network, Path(code, side), world) for code in codes for side in sampling.sides]
        means = {name: fmean(getattr(each, name) for each in found) for name in ("right", "right5")}
        images, left_out = found[0].images, found[0].left_out
        loss = fmean(each.loss for each in found)
        return Accuracy(round(means["right"]), round(means["right5"]), images, left_out, loss)

    def accuracy(self, network: nn.Module, path: Path, world: World) -> Accuracy:
        """How well a path classifies what the recipe evaluates on."""
        return evaluate(_Way(network, path), self.gathered(world), world)

    def gathered(self, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """What to evaluate on, in equal batches of about as many images as statistics are taken of."""
        total = len(self.eval_indices[world.rank :: world.size])
        size = -(-total // max(1, round(total / STATISTICS)))
        images, labels = [], []
        for some, their in self.evaluation(world):
            images.append(some)
            labels.append(their)
            while (n := sum(map(len, labels))) >= size or (n and n == total):
                whole, known = torch.cat(images), torch.cat(labels)
                yield whole[:size], known[:size]
                images, labels, total = [whole[size:]], [known[size:]], total - min(size, n)

    @override
    def save(self, network: nn.Module, folder: File) -> None:
        """The supernet's weights, what it is of, and the codes of the lowest losses."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in network.state_dict().items()}, folder / "model.safetensors"
        )
        about = {"recipe": self.recipe.model_dump(mode="json"), "lowest": self.lowest}
        write_atomically(folder / "supernet.json", json.dumps(about).encode())


class _Way(nn.Module):
    """One path of a supernet as a network."""

    def __init__(self, network: nn.Module, path: Path) -> None:
        super().__init__()
        self.network, self.path = network, path

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images, [self.path])[0]
