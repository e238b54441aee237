"""The networks in timm's registry: one entry point a registry name, in both spellings, and one for any code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from safetensors import SafetensorError
from timm.models import build_model_with_cfg, generate_default_cfgs, get_pretrained_cfg, register_model
from timm.models import create_model as timm_create_model
from torch import nn

from . import autobss, composed, registry
from .about import About
from .codes import Code
from .cost import Setting
from .errors import AutoBSSError, WeightsError
from .families import family_of
from .names import FROM_CODE
from .timm_private import resolve_pretrained_cfg
from .weights import adapt_state_dict, check_fit, check_source, in_line, unpublished

MODULE = autobss.__name__.rpartition(".")[2]
"""timm's name of the module of this zoo's networks."""

_PREPROCESSING = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")


def _create(name: str, code: Code, pretrained: bool, kwargs: dict[str, Any], entry: registry.Entry | None = None):
    family = family_of(code)
    cfg = kwargs.pop("pretrained_cfg", None)
    overlay = kwargs.pop("pretrained_cfg_overlay", None)
    if entry is None and not cfg:
        cfg = _default_cfg(code)
    resolved = resolve_pretrained_cfg(name, cfg, overlay).to_dict()
    resolved |= {"first_conv": family.first_conv, "classifier": family.classifier, "fixed_input_size": False}
    saved = {"num_classes": resolved["num_classes"], "in_chans": resolved["input_size"][0]}
    saved |= {k: v for k, v in (kwargs.get("pretrained_model_args") or {}).items() if k != "code"}
    if pretrained and (weights := check_source(entry, resolved, kwargs.get("cache_dir"))):
        check_fit(str(weights.parent), weights, lambda: family.build(code, **saved))
    try:
        model: Any = build_model_with_cfg(
            lambda **arguments: family.build(code, **arguments),
            name,
            pretrained,
            pretrained_cfg=resolved,
            pretrained_filter_fn=adapt_state_dict,
            feature_cfg=dict(family.feature_cfg),
            **kwargs,
        )
    except (RuntimeError, SafetensorError) as error:  # torch's and safetensors'
        if not pretrained or isinstance(error, AutoBSSError):
            raise
        what = f"{resolved['file']}: cannot load it" if resolved.get("file") else "cannot load the weights"
        raise WeightsError(f"{what} into {code}: {in_line(error)}") from error
    shown = {key: resolved[key] for key in _PREPROCESSING}
    model.about = About(code, label_names=tuple(resolved.get("label_names") or ()), preprocessing=shown)
    return model


def _default_cfg(code: Code, **fields: Any) -> dict[str, Any]:
    family = family_of(code)
    size = family.image_side(code)
    return {
        "input_size": (3, size, size),
        "first_conv": family.first_conv,
        "classifier": family.classifier,
        **fields,
    }


def register(entry: registry.Entry) -> None:
    """Enter a network into timm's registry in both spellings, with a tag for each of its published weights."""
    classes = (
        {} if entry.architecture else {"num_classes": entry.setting.num_classes}
    )  # in timm a detector is its backbone
    base = _default_cfg(entry.code, description=f"{entry.code}, {entry.source}", **classes)
    tags = {tag: _source(weights, base) for tag, weights in entry.weights.items()}
    for name in (entry.name, entry.timm_name):
        cfgs: dict[str, Any] = {
            f"{name}.{tag}".rstrip("."): {**base, **source} for tag, source in (tags or {"": {}}).items()
        }
        autobss.default_cfgs.update(generate_default_cfgs(cfgs))
        _enter(name, _entrypoint(name, entry), f"{entry.code}, {entry.source}. Arguments as in timm.create_model.")


def _source(weights: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Where weights are and how their images are prepared, as timm has it; of timm's own, as timm states it."""
    stated = {key: value for key, value in weights.items() if key not in ("sha256", "accuracy")}
    if (theirs := registry.of_timm(weights)) and (cfg := get_pretrained_cfg(theirs)):
        stated |= {k: v for k, v in cfg.to_dict().items() if k not in ("url", "architecture", "tag", *base)}
    return stated


def _entrypoint(name: str, entry: registry.Entry) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(name, entry.code, pretrained, kwargs, entry)

    return create


def _enter(name: str, create: Callable[..., nn.Module], doc: str) -> None:
    """Enter a function into timm's registry, as one of the module of such functions and not of this one."""
    create.__name__ = create.__qualname__ = name
    create.__module__, create.__doc__ = autobss.__name__, doc
    register_model(create)


def _from_code(pretrained: bool = False, code: str | Code | None = None, **kwargs: Any) -> nn.Module:
    if code is None:
        raise AutoBSSError(f'{FROM_CODE}: expected a code, e.g. code="resnet18{{64,64,256,512,2,3,4,1}}"')
    return _create(FROM_CODE, code if isinstance(code, Code) else Code.parse(code), pretrained, kwargs)


for _entry in registry.entries().values():
    register(_entry)
_enter(FROM_CODE, _from_code, 'Any code, e.g. code="resnet18{64,64,256,512,2,3,4,1}". As timm.create_model otherwise.')


def setting_of(model: Any) -> Setting:
    """What a classifier is counted with: the images it is configured for, and its classes."""
    classes = getattr(model, "num_classes", 0)  # which a network of features does not have
    return Setting(model.pretrained_cfg["input_size"][-1], getattr(model, "in_chans", 3), classes)


def create_model(name_or_code: str | Code, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a network by its name in the registry or by its code.

    Args:
        name_or_code: A name in either spelling ("resnet50_autobss", "autobss_resnet50", with ".tag" for given
            weights), or a code ("resnet18{64,64,256,512,2,3,4,1}").
        pretrained: Load the published weights.
        **kwargs: As in timm.create_model: num_classes, in_chans, features_only, out_indices, drop_path_rate... Of a
            detector or segmenter as in `detection.create_detector` or `segmentation.create_segmenter`.

    Returns:
        A timm model, with what is known of it (code, task, classes, preprocessing) as `model.about`. Of a detection or
        segmentation entry it is the whole network, and timm.create_model gives the backbone.

    Raises:
        CodeError, UnknownNameError: If there is no such network.
        WeightsError: If `pretrained` and there are no weights, or not those that were published.
    """
    name = str(name_or_code)
    if isinstance(name_or_code, Code) or "{" in name:
        return timm_create_model(FROM_CODE, pretrained=pretrained, code=str(registry.find(name_or_code)[0]), **kwargs)
    entry = registry.get(name.partition(".")[0])
    if not entry.architecture:
        return timm_create_model(name, pretrained=pretrained, **kwargs)
    if pretrained:
        raise WeightsError(unpublished(entry))
    return composed.create_composed(entry.architecture, entry.code, **kwargs)
