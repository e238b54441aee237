from pathlib import Path

import pytest
import torch

from autobss_zoo import get, list_models
from autobss_zoo.errors import WeightsError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def cached(tmp_path, monkeypatch) -> str:
    """The repository where torch.hub keeps what it has downloaded from GitHub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "owner_autobss-zoo_main").symlink_to(REPOSITORY)
    return "owner/autobss-zoo:main"


def test_hub_lists_exactly_the_registry_in_both_spellings(cached):
    names = {spelling for name in list_models() for spelling in (name, get(name).timm_name)}
    assert set(torch.hub.list(cached, skip_validation=True, trust_repo=True)) == names


def test_hub_loads_and_helps(cached):
    assert "resnet50{128,256" in torch.hub.help(cached, "autobss_resnet50", skip_validation=True, trust_repo=True)
    model = torch.hub.load(cached, "mnv2_autobss_130m", skip_validation=True, trust_repo=True)
    assert model.about.code == get("mnv2_autobss_130m").code


def test_hub_says_of_every_network_what_it_costs_and_takes(cached):
    for name in list_models():
        entry = get(name)
        for spelling in (name, entry.timm_name):
            text = torch.hub.help(cached, spelling, skip_validation=True, trust_repo=True)
            assert f'torch.hub.load("<this repository>", "{spelling}", num_classes=10)' in text
            assert f"{entry.measured.macs:,} MACs" in text
            assert f"{entry.measured.params:,} parameters" in text
            assert "pretrained (bool)" in text
            assert "num_classes, " in text


def test_hub_loads_from_a_folder():
    model = torch.hub.load(str(REPOSITORY), "resnet50_autobss", source="local", num_classes=10)
    assert model.about.code == get("resnet50_autobss").code
    assert model.num_classes == 10
    with pytest.raises(WeightsError, match="imagenet/resnet50"):
        torch.hub.load(str(REPOSITORY), "resnet50_autobss", source="local", pretrained=True)
