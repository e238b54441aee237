"""A supernet: the widest network, of which every narrower one is a part (BCNetV2, sections 4.1 and 5.1).

A layer of c channels has the first c channels of the widest one, or the last c; a smaller kernel is the larger one's
centre; a stage of fewer blocks has the first ones. Where codes choose operations block by block, each operation of a
block can have weights of its own. Which parameters a code's network has, and of which shapes, is read
off its plan, and the network itself is what its family builds: there is no second class for any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..codes import Code
from ..cost import Setting
from ..families import get_family
from ..families.plan import Layer, Plan

_Index = tuple[slice, ...]
_MOST, _SKELETONS = 10_000, 256  # paths whose parts are remembered, and networks that are kept


class Path(NamedTuple):
    """A way through a supernet.

    Attributes:
        code: Of the network.
        right: Whether its channels are the last ones of the widest network, and not the first.
    """

    code: Code
    right: bool = False


class _Part(NamedTuple):
    """Where a parameter of a path's network is.

    Attributes:
        name: Of the supernet's parameter.
        where: The part of it.
    """

    name: str
    where: _Index


class _Skeleton(NamedTuple):
    """A network without weights.

    Attributes:
        network: On the meta device; batch norms have no statistics of their own.
        layers: Of each layer of the plan the names of its parameters, in their order.
        depthwise: The depthwise convolutions, each with its weight's name.
    """

    network: nn.Module
    layers: list[list[str]]
    depthwise: list[tuple[str, nn.Conv2d]]


class Supernet(nn.Module):
    """The networks of all codes between two, which share the weights of the widest.

    Batch norms use the statistics of the batch, in training and in evaluation: those of networks of different widths
    have nothing in common. Its parameters have the names of the network's.

    Args:
        widest: The code of the widest, deepest network.
        narrowest: The code whose elements are the least.
        others: Where codes choose operations, further codes that together have each operation of each block.
        apart: Whether the operations that a block chooses from have weights of their own, and share none.
        prepare: Called with each path's network, which has no weights, before it is used, such as to have it compute
            the same in less time.
        **kwargs: What the family's `build` takes: num_classes, in_chans...

    Raises:
        ValueError: If the codes are of different families.
    """

    def __init__(
        self,
        widest: Code,
        narrowest: Code,
        others: Iterable[Code] = (),
        apart: bool = False,
        prepare: Callable[[nn.Module], None] = lambda network: None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if widest.family != narrowest.family:
            raise ValueError(f"expected two codes of one family, got {widest} and {narrowest}")
        self.widest, self.narrowest, self.apart = widest, narrowest, apart
        self._family, self._kwargs, self._prepare = get_family(widest.family), kwargs, prepare
        self._skeletons: dict[tuple[Any, ...], _Skeleton] = {}
        self._known: dict[Path, tuple[tuple[Any, ...], dict[str, _Part]]] = {}
        found = self._named(widest)
        for code in (*self._others(), *others):
            with torch.device("meta"), _Undrawn():
                shapes = self._named(code)
            if any(name not in found or _larger(value.shape, found[name].shape) for name, value in shapes.items()):
                for name, value in self._named(code).items():
                    found[name] = _grown(found[name], value.shape) if name in found else value
        self._places = [(name, *_plant(self, name, nn.Parameter(whole))) for name, whole in found.items()]

    def forward(self, images: Tensor, paths: Sequence[Path]) -> list[Tensor]:
        """The logits of each path, each of shape (n, classes), for images of shape (n, channels, side, side).

        Where a path's code states the side of the images, they are resized to it.
        """
        names = {name: number for number, (name, _, _) in enumerate(self._places)}
        found = [(self._skeleton_of(path), self._parts(path)[1]) for path in paths]
        sized = {side: resized(images, side) for side in map(self._side, paths)}
        wanted = [(names[part.name], part.where) for _, own in found for part in own.values()]
        parts = iter(_Parts.apply(wanted, *(module._parameters[key] for _, module, key in self._places)))
        outputs = []
        for path, (skeleton, own) in zip(paths, found, strict=True):
            weights = {name: next(parts) for name in own}
            for name, convolution in skeleton.depthwise:
                convolution.groups = len(weights[name])
            if skeleton.network.training != self.training:
                skeleton.network.train(self.training)
            outputs.append(functional_call(skeleton.network, weights, (sized[self._side(path)],)))
        return outputs

    def network(self, path: Path) -> nn.Module:
        """A path's network of its own, as its family builds it, with copies of the weights.

        Its batch norms know no statistics until `recalibrate` has given them some.
        """
        network = self._build(path.code)
        network.load_state_dict(self.weights(path), strict=False)
        return network

    def weights(self, path: Path) -> dict[str, Tensor]:
        """The parameters of a path's network by their names, views of this one's."""
        _, parts = self._parts(path)
        return {name: self.get_parameter(part.name)[part.where] for name, part in parts.items()}

    def _side(self, path: Path) -> int | None:
        return self._family.stated_side(path.code)

    def _build(self, code: Code) -> nn.Module:
        return self._family.build(code, **self._kwargs)

    def _others(self) -> Iterator[Code]:
        """The widest code with one of its elements at the least: all parameters that it lacks are in one of those."""
        for place, least in enumerate(self.narrowest.values):
            values = list(self.widest.values)
            if values[place] != least:
                values[place] = least
                yield replace(self.widest, values=tuple(values))

    def _named(self, code: Code) -> dict[str, Tensor]:
        """Of a code's network, newly built, by the names that they have here."""
        network = self._build(code)
        own = {name: parameter.detach() for name, parameter in network.named_parameters()}
        if not self.apart:
            return own
        plan, layers = self._plan(code), _named_layers(network)[0]
        return {
            _named_apart(name, operation): own[name]
            for (_, operation), names in zip(_layers(plan), layers, strict=True)
            for name in names
        }

    def _plan(self, code: Code) -> Plan:
        setting = Setting(None, self._kwargs.get("in_chans", 3), self._kwargs.get("num_classes", 1000))
        return self._family.plan(code, self._family.setting(setting, code))

    def _parts(self, path: Path) -> tuple[tuple[Any, ...], dict[str, _Part]]:
        """The structure of a path's network, and where each of its parameters lies in this one's."""
        if path not in self._known:
            if len(self._known) >= _MOST:
                self._known.clear()
            plan = self._plan(path.code)
            skeleton, parts = self._kept(path.code, plan), {}
            for (layer, operation), names in zip(_layers(plan), skeleton.layers, strict=True):
                for name, shape in zip(
                    names, _shapes(layer), strict=False
                ):  # of some layers no bias follows the weight
                    own = _named_apart(name, operation) if self.apart else name
                    parts[name] = _Part(own, _index(self.get_parameter(own).shape, shape, path.right))
            self._known[path] = _structure(plan), parts
        return self._known[path]

    def _skeleton_of(self, path: Path) -> _Skeleton:
        """The network of a path, without weights."""
        structure, _ = self._parts(path)
        return self._skeletons.get(structure) or self._kept(path.code, self._plan(path.code))

    def _kept(self, code: Code, plan: Plan) -> _Skeleton:
        """The network without weights of a code with this plan; kept, since it takes long to build."""
        if (structure := _structure(plan)) not in self._skeletons:
            if len(self._skeletons) >= _SKELETONS:
                self._skeletons.clear()
            self._skeletons[structure] = self._skeleton(code, plan)
        return self._skeletons[structure]

    def _skeleton(self, code: Code, plan: Plan) -> _Skeleton:
        with torch.device("meta"), _Undrawn():
            network = self._build(code)
        self._prepare(network)
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None
        layers, modules = _named_layers(network)
        each = zip(_layers(plan), layers, modules, strict=True)
        depthwise: Any = [(names[0], module) for (layer, _), names, module in each if layer.depthwise]
        return _Skeleton(network, layers, depthwise)


def resized(images: Tensor, side: int | None) -> Tensor:
    """Images of shape (n, channels, side, side) of another side, by bilinear interpolation; as they are when None."""
    if side in (None, images.shape[-1]):
        return images
    return functional.interpolate(images, (side, side), mode="bilinear", antialias=True)


def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give a network's batch norms the statistics of some images, and leave it in evaluation mode.

    Args:
        network: A network.
        batches: Images of shape (n, channels, side, side); one batch at a time is in memory.
    """
    norms = [module for module in network.eval().modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    with torch.no_grad():
        for images in batches:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


class _Undrawn(TorchFunctionMode):
    """Leaves out the initialisation of weights, which takes most of the time that a network without any is built in."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


_DRAWS = {"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "fill_", "zero_"}


class _Parts(torch.autograd.Function):
    """Parts of parameters; their gradients are added up in one tensor a parameter."""

    @staticmethod
    def forward(ctx: Any, wanted: list[tuple[int, _Index]], *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.wanted = wanted
        ctx.save_for_backward(*parameters)
        return tuple(parameters[number][index].clone() for number, index in wanted)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        out: list[Tensor | None] = [None] * len(ctx.saved_tensors)
        for (number, index), gradient in zip(ctx.wanted, gradients, strict=True):
            if gradient is not None:
                total = out[number]
                if total is None:
                    total = out[number] = torch.zeros_like(ctx.saved_tensors[number])
                    total[index] = gradient
                else:
                    total[index] += gradient
        return None, *out


def _index(whole: Sequence[int], shape: Sequence[int], right: bool) -> _Index:
    """Where a parameter lies in a larger one: at the beginning or the end of its channels, in the kernel's middle."""
    index = []
    for axis, (size, part) in enumerate(zip(whole, shape, strict=False)):  # a linear layer has no kernel
        start = (size - part) // 2 if axis > 1 else size - part if right else 0
        index.append(slice(start, start + part))
    return tuple(index)


def _layers(plan: Plan) -> Iterator[tuple[Layer, int]]:
    """The layers of one network in order, each with the number of its block's operation."""
    for block in plan.blocks:
        for _ in range(block.times):
            yield from ((layer, int(block.operation)) for layer in block.layers() if layer.present)


def _named_layers(network: nn.Module) -> tuple[list[list[str]], list[nn.Module]]:
    """Of each convolution and linear layer the names of its parameters, with those of the norm after it; and itself."""
    layers: list[list[str]] = []
    modules: list[nn.Module] = []
    for name, module in network.named_modules():
        own = [f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)]
        if isinstance(module, nn.Conv2d | nn.Linear):
            modules.append(module)
            layers.append(own)
        elif own:
            layers[-1] += own
    return layers, modules


def _named_apart(name: str, operation: int) -> str:
    """The name of a parameter of a block that has an operation, 0 for blocks that have no choice."""
    module, _, key = name.rpartition(".")
    return f"{module}.operation{operation}.{key}" if operation else name


def _structure(plan: Plan) -> tuple[Any, ...]:
    """What networks have in common that differ in widths alone."""
    return tuple(
        (b.kind, b.kernel, b.stride, b.inputs == b.outputs, b.squeeze_excite > 0, getattr(b, "expands", 0), b.times)
        for b in plan.blocks
    )


def _shapes(layer: Layer) -> tuple[tuple[int, ...], ...]:
    """The shapes of a layer's weight and of the vectors that follow."""
    kernel = (layer.kernel, layer.kernel)
    weight = (layer.outputs, 1 if layer.depthwise else layer.inputs, *kernel)
    return weight, *[(layer.outputs,)] * layer.vectors


def _larger(shape: Sequence[int], known: Sequence[int]) -> bool:
    return any(size > own for size, own in zip(shape, known, strict=True))


def _grown(known: Tensor, shape: Sequence[int]) -> Tensor:
    """A parameter that is as large as both in all axes, drawn anew like the known one where that is not enough."""
    if not _larger(shape, known.shape):
        return known
    out = known.new_empty([max(pair) for pair in zip(known.shape, shape, strict=True)])
    return nn.init.normal_(out, float(known.mean()), float(known.std()) if known.ndim > 1 else 0.0)


def _plant(root: nn.Module, name: str, parameter: nn.Parameter) -> tuple[nn.Module, str]:
    """Enter a parameter by its dotted name; the module that it is in, and its name there."""
    *parents, last = name.split(".")
    for parent in parents:
        if parent not in dict(root.named_children()):
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.register_parameter(last, parameter)
    return root, last
