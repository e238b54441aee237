from pathlib import Path

import pytest
import torch

from autobss_zoo import get, list_models
from autobss_zoo.errors import WeightsError

REPOSITORY = str(Path(__file__).parents[1])


def test_hub_lists_exactly_the_registry_in_both_spellings():
    names = {spelling for name in list_models() for spelling in (name, get(name).timm_name)}
    assert set(torch.hub.list(REPOSITORY, source="local")) == names


def test_hub_loads_and_helps():
    model = torch.hub.load(REPOSITORY, "resnet50_autobss", source="local", num_classes=10)
    assert model.code == get("resnet50_autobss").code
    assert model.num_classes == 10
    assert "resnet50{128,256" in torch.hub.help(REPOSITORY, "autobss_resnet50", source="local")
    with pytest.raises(WeightsError, match="imagenet/resnet50"):
        torch.hub.load(REPOSITORY, "resnet50_autobss", source="local", pretrained=True)
