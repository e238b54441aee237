"""torch.hub: every network of the registry, in both spellings.

torch.hub.load("<this repository>", "resnet50_autobss", num_classes=10)
"""

import autobss_zoo as _zoo
from autobss_zoo import registry as _registry

dependencies = ["huggingface_hub", "numpy", "safetensors", "timm", "torch", "yaml"]


def _entrypoint(name: str, entry: _registry.Entry):
    def load(pretrained: bool = False, **kwargs):
        return _zoo.create_model(name, pretrained=pretrained, **kwargs)

    load.__name__ = name
    load.__doc__ = f"{entry.code}, AutoBSS {entry.source}. Arguments as in autobss_zoo.create_model."
    return load


for _entry in _registry.entries().values():
    for _name in (_entry.name, _entry.timm_name):
        globals()[_name] = _entrypoint(_name, _entry)
