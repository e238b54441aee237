"""Saving, sharing and loading. The Hub is a small server on loopback; its client is huggingface_hub's own."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from autobss_zoo import create_model, from_pretrained, save_pretrained
from autobss_zoo.errors import AutoBSSError, WeightsError
from autobss_zoo.families import FAMILIES, family_of
from autobss_zoo.weights import sha256
from conftest import tiny
from hub_server import Hub

INPUTS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def network(family: str = "resnet18_small", **kwargs) -> nn.Module:
    torch.manual_seed(0)
    return create_model(tiny(family), num_classes=5, **kwargs).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_network_is_loaded_by_us_and_by_plain_timm(family, tmp_path):
    model = network(family).to(memory_format=torch.channels_last)
    save_pretrained(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    config = json.loads((tmp_path / "config.json").read_text())
    cost = family_of(model.code).cost(model.code, num_classes=5)
    assert (config["code"], config["macs"], config["params"]) == (str(model.code), cost.macs, cost.params)
    assert config["sha256"] == sha256(tmp_path / "model.safetensors")
    for again in (from_pretrained(tmp_path), timm.create_model(f"local-dir:{tmp_path}", pretrained=True)):
        assert again.code == model.code
        for key, tensor in model.state_dict().items():
            assert torch.equal(again.state_dict()[key], tensor), key


def test_a_named_network_keeps_its_name_and_arguments(tmp_path):
    model = create_model("mnv2_autobss_130m", num_classes=5, in_chans=1).eval()
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path).eval()
    assert again.pretrained_cfg["architecture"] == "mnv2_autobss_130m"
    assert (again.num_classes, again.in_chans) == (5, 1)
    assert torch.equal(again(INPUTS[:, :1]), model(INPUTS[:, :1]))
    adapted = from_pretrained(tmp_path, num_classes=3, in_chans=3)
    assert adapted(INPUTS).shape == (2, 3)
    assert torch.equal(adapted.blocks[3][0].conv_pw.weight, model.blocks[3][0].conv_pw.weight)
    backbone = from_pretrained(tmp_path, features_only=True, out_indices=(4,)).eval()
    assert torch.equal(backbone(INPUTS[:, :1])[0], model.forward_intermediates(INPUTS[:, :1])[1][-1])


def test_a_changed_classifier_is_saved(tmp_path):
    model = network()
    model.reset_classifier(9)
    save_pretrained(model, tmp_path)
    assert torch.equal(from_pretrained(tmp_path).eval()(INPUTS), model.eval()(INPUTS))


def test_damaged_weights_are_refused(tmp_path):
    save_pretrained(network(), tmp_path)
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for load in (from_pretrained, lambda path: timm.create_model(f"local-dir:{path}", pretrained=True)):
        with pytest.raises(WeightsError, match="expected weights with sha256"):
            load(tmp_path)
    weights.unlink()
    with pytest.raises(WeightsError, match="no such file"):
        from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"no config\.json"):
        from_pretrained(tmp_path)


def test_saving_again_replaces_and_a_failed_save_leaves_what_was_there(tmp_path):
    save_pretrained(network("mnv2_small"), tmp_path)
    model = network()
    save_pretrained(model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert torch.equal(from_pretrained(tmp_path).eval()(INPUTS), model(INPUTS))
    broken = network()
    broken._model_args = {"act_layer": nn.SiLU}  # which JSON cannot hold
    with pytest.raises(ValueError, match="not serializable"):
        save_pretrained(broken, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_only_classifiers_of_the_zoo_are_saved(tmp_path):
    for model in (nn.Linear(2, 2), timm.create_model("resnet18"), network(features_only=True)):
        with pytest.raises(AutoBSSError, match="expected a classifier made by autobss_zoo"):
            save_pretrained(model, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_published_weights_have_a_tag_and_a_checksum(tmp_path):
    """A registry entry with weights: listed as pretrained, loaded by default and by tag, checked first."""
    from dataclasses import replace

    from autobss_zoo import get
    from autobss_zoo.models import register

    model = create_model("mnv2_autobss_130m").eval()
    save_pretrained(model, tmp_path)
    weights = tmp_path / "model.safetensors"
    source = {"file": str(weights), "sha256": sha256(weights)}
    register(replace(get("mnv2_autobss_130m"), name="published_autobss", weights={"data": source}))
    assert timm.is_model_pretrained("autobss_published.data")
    for name in ("autobss_published", "published_autobss.data"):
        assert torch.equal(timm.create_model(name, pretrained=True).eval()(INPUTS), model(INPUTS))
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match="expected weights with sha256"):
        timm.create_model("autobss_published", pretrained=True)


CLIENT = """
    import sys, timm, torch, autobss_zoo
    from autobss_zoo.errors import WeightsError
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def refused(load, *words):
        try:
            load()
        except WeightsError as error:
            assert all(word in str(error) for word in words) and "\\n" not in str(error), str(error)
        else:
            raise AssertionError("nothing was refused")
"""


def run(script: str, hub: Hub, home: Path, **environment: str) -> str:
    """Run a client: huggingface_hub reads its environment when it is imported."""
    variables = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "hf_test",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    source = textwrap.dedent(CLIENT) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", source], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def hub():
    with Hub() as server:
        yield server
        server.shutdown()


def test_push_download_cache_revision_and_offline(hub, tmp_path):
    code = str(tiny("mnv2_small"))
    run(
        f"""
        model = autobss_zoo.create_model({code!r}, num_classes=5).eval()
        commit = autobss_zoo.push_to_hub(model, "owner/small", commit_message="First")
        assert commit.commit_url.startswith({hub.url!r}), commit
        expected = model(inputs)
        assert torch.equal(autobss_zoo.from_pretrained("owner/small").eval()(inputs), expected)

        other = autobss_zoo.create_model({code!r}, num_classes=5).eval()
        autobss_zoo.push_to_hub(other, "owner/small")
        assert torch.equal(timm.create_model("hf-hub:owner/small", pretrained=True).eval()(inputs), other(inputs))
        for name, kwargs in (("owner/small", dict(revision=commit.oid)), (f"owner/small@{{commit.oid}}", {{}})):
            assert torch.equal(autobss_zoo.from_pretrained(name, **kwargs).eval()(inputs), expected)
        assert autobss_zoo.from_pretrained("owner/small", num_classes=3, in_chans=1)(inputs[:, :1]).shape == (2, 3)
        """,
        hub,
        tmp_path,
    )
    assert set(hub.files["owner/small", "main"]) == {"config.json", "model.safetensors", "README.md"}
    assert hub.downloads.count("model.safetensors") == 2  # two commits; every other load is from the cache
    run(
        """
        autobss_zoo.from_pretrained("owner/small")
        timm.create_model("hf-hub:owner/small", pretrained=True)
        refused(lambda: autobss_zoo.from_pretrained("owner/other"), "owner/other", "check your connection")
        """,
        hub,
        tmp_path,
        HF_HUB_OFFLINE="1",
    )
    assert hub.downloads.count("model.safetensors") == 2


def test_wrong_checksum_and_missing_things(hub, tmp_path):
    save_pretrained(network(), tmp_path / "saved")
    good = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    damaged = good["model.safetensors"][:-1] + b"!"
    hub.commit("owner/damaged", {**good, "model.safetensors": damaged})
    hub.commit("owner/empty", {"config.json": good["config.json"]})
    run(
        """
        for load in (autobss_zoo.from_pretrained, lambda n: timm.create_model(f"hf-hub:{n}", pretrained=True)):
            refused(lambda: load("owner/damaged"), "expected weights with sha256", "delete it and load again")
            refused(lambda: load("owner/empty"), "owner/empty", "model.safetensors")
        refused(lambda: autobss_zoo.from_pretrained("owner/missing"), "owner/missing", "404")
        refused(lambda: autobss_zoo.from_pretrained("owner/damaged@nothing"), "owner/damaged@nothing", "404")
        refused(lambda: autobss_zoo.from_pretrained("not a name"), "not a name")
        """,
        hub,
        tmp_path / "home",
    )
    assert "README.md" not in hub.downloads
