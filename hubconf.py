"""torch.hub: every network of the registry, in both spellings.

torch.hub.load("<this repository>", "resnet50_autobss", num_classes=10)
"""

import autobss_zoo as _zoo
from autobss_zoo import registry as _registry

dependencies = ["huggingface_hub", "numpy", "safetensors", "timm", "torch", "yaml"]

_ARGUMENTS = {
    "classification": "num_classes, in_chans, features_only, out_indices, drop_path_rate... as in timm.create_model",
    "detection": "num_classes, width, box_score_thresh... as in autobss_zoo.detection.create_detector",
    "segmentation": "num_classes, width, dropout, aux_loss... as in autobss_zoo.segmentation.create_segmenter",
}


def _help(name: str, entry: _registry.Entry) -> str:
    """What torch.hub.help shows of a network."""
    size, counts = entry.setting.input_size, f", {entry.counts}" if entry.counts else ""
    weights = ", ".join(f"{name}.{tag}" for tag in entry.weights) or "none are, and True is an error"
    return f"""{entry.code}, found by: {entry.found_by}; {entry.source}.

    {entry.measured.macs:,} MACs (one {size}x{size} image{counts}), {entry.measured.params:,} parameters.

    Args:
        pretrained (bool): Load the weights that are published: {weights}.
        **kwargs: {_ARGUMENTS[entry.task]}.

    Example:
        >>> model = torch.hub.load("<this repository>", "{name}", num_classes=10)
    """


def _entrypoint(name: str, entry: _registry.Entry):
    def load(pretrained: bool = False, **kwargs):
        return _zoo.create_model(name, pretrained=pretrained, **kwargs)

    load.__name__, load.__doc__ = name, _help(name, entry)
    return load


for _entry in _registry.entries().values():
    for _name in (_entry.name, _entry.timm_name):  # which begin with a letter, as nothing here but `dependencies` does
        globals()[_name] = _entrypoint(_name, _entry)
