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
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import nn
from torch.optim.swa_utils import AveragedModel

from autobss_zoo import Setting, create_model, from_pretrained, get, save_pretrained
from autobss_zoo.errors import AutoBSSError, WeightsError
from autobss_zoo.families import family_of
from autobss_zoo.registry import of_timm
from autobss_zoo.weights import sha256
from conftest import EVERY_FAMILY, PAPER, long, tiny
from hub_server import Hub

INPUTS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


LOADERS = [
    pytest.param(from_pretrained, id="autobss_zoo"),
    pytest.param(lambda folder: timm.create_model(f"local-dir:{folder}", pretrained=True), id="timm"),
]


def network(family: str = "resnet18_small", **kwargs) -> nn.Module:
    torch.manual_seed(0)
    return create_model(tiny(family), num_classes=5, **kwargs).eval()


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_a_saved_network_is_loaded_by_us_and_by_plain_timm(family, tmp_path):
    model = network(family).to(memory_format=torch.channels_last)
    save_pretrained(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
    config = json.loads((tmp_path / "config.json").read_text())
    cost = family_of(model.about.code).cost(model.about.code, Setting(num_classes=5))
    assert (config["code"], config["macs"], config["params"]) == (str(model.about.code), cost.macs, cost.params)
    assert config["sha256"] == sha256(tmp_path / "model.safetensors")
    for again in (from_pretrained(tmp_path), timm.create_model(f"local-dir:{tmp_path}", pretrained=True)):
        assert again.about.code == model.about.code
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
    model.fc = nn.Linear(model.num_features, 7)
    save_pretrained(model, tmp_path)
    assert torch.equal(from_pretrained(tmp_path).eval()(INPUTS), model(INPUTS))
    assert json.loads((tmp_path / "config.json").read_text())["num_classes"] == 7


def test_tied_and_wrapped_networks_are_saved(tmp_path):
    model = network()
    model.layer1[0].conv2.weight = model.layer1[0].conv1.weight
    for wrapped in (model, AveragedModel(model), torch.compile(model)):
        save_pretrained(wrapped, tmp_path)
        assert torch.equal(from_pretrained(tmp_path).eval()(INPUTS), model(INPUTS))


def test_a_code_given_as_a_value_is_saved_as_text(tmp_path):
    save_pretrained(timm.create_model("autobss_from_code", code=tiny("mnv2_small")), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_args"]["code"] == str(tiny("mnv2_small"))


def test_weights_that_could_not_be_loaded_again_are_not_saved(tmp_path):
    model = network()
    model.fc = nn.Sequential(nn.Dropout(), nn.Linear(model.num_features, 5))
    with pytest.raises(WeightsError, match=r"fc\.1\.bias.*reset_classifier"):
        save_pretrained(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("load", LOADERS)
def test_damaged_folders_are_refused(load, tmp_path):
    save_pretrained(network(), tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match="expected weights with sha256"):
        load(tmp_path)
    weights.unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors: no such file"):
        load(tmp_path)
    weights.write_bytes(content)
    stated = json.loads(config.read_text())
    config.write_text(json.dumps({k: v for k, v in stated.items() if k != "sha256"}))  # as timm itself saves
    assert load(tmp_path).about.code == network().about.code


def test_folders_without_a_configuration_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json: no such file; expected a folder that save_pretrained has"):
        from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: no configuration"):
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


def test_a_save_follows_links(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").symlink_to("../kept/weights")
    save_pretrained(network(), tmp_path / "model")
    assert torch.equal(from_pretrained(tmp_path / "model").eval()(INPUTS), network().eval()(INPUTS))
    assert sorted(path.name for path in tmp_path.rglob("*") if not path.is_symlink()) == [
        "README.md", "config.json", "kept", "model", "weights"]  # fmt: skip


@pytest.mark.parametrize("load", LOADERS)
def test_a_save_that_stops_between_two_files_is_refused(load, tmp_path):
    old, new = create_model(tiny("mnv2_small")), create_model(tiny("mnv2_small"))
    save_pretrained(old, tmp_path / "old")
    save_pretrained(new, tmp_path / "new")
    (tmp_path / "new" / "model.safetensors").replace(tmp_path / "old" / "model.safetensors")  # first of the three
    with pytest.raises(WeightsError, match="expected weights with sha256"):
        load(tmp_path / "old")


def test_only_networks_of_the_zoo_are_saved(tmp_path):
    features = (network(features_only=True), network(features_only=True, feature_cls="getter"))
    for model in (nn.Linear(2, 2), timm.create_model("resnet18"), *features):
        with pytest.raises(AutoBSSError, match="expected a classifier, detector or segmenter of autobss_zoo"):
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
    own = tmp_path / "own.safetensors"  # has no checksum to match
    save_file({name: tensor + 1 for name, tensor in model.state_dict().items()}, own)
    changed = timm.create_model("autobss_published", pretrained=True, pretrained_cfg_overlay={"file": str(own)})
    assert torch.equal(changed.classifier.bias, model.classifier.bias + 1)
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match="expected weights with sha256"):
        timm.create_model("autobss_published", pretrained=True)
    weights.unlink()
    with pytest.raises(WeightsError, match="no such file of weights"):
        timm.create_model("autobss_published", pretrained=True)


CLIENT = """
    import pathlib, sys, timm, torch, autobss_zoo
    from autobss_zoo.errors import WeightsError
    from dataclasses import replace
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def with_timm(name, **kwargs):
        return timm.create_model(f"hf-hub:{name}", pretrained=True, **kwargs)

    def refused(load, *words):
        try:
            load()
        except WeightsError as error:
            assert all(word in str(error) for word in words) and "\\n" not in str(error), str(error)
            return error
        raise AssertionError("nothing was refused")
"""


def run(script: str, hub: Hub, home: Path, **environment: str) -> None:
    """Run a client: huggingface_hub reads its environment when it is imported."""
    variables = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "hf_test",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    source = textwrap.dedent(CLIENT) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", source], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def hub():
    with Hub() as server:
        yield server
        server.shutdown()


def test_push_download_cache_revision_and_offline(hub, tmp_path):
    code, own_cache = str(tiny("mnv2_small")), str(tmp_path / "own")
    run(
        f"""
        model = autobss_zoo.create_model({code!r}, num_classes=5).eval()
        commit = autobss_zoo.push_to_hub(model, "owner/small", commit_message="First")
        assert commit.commit_url.startswith({hub.url!r}), commit
        expected = model(inputs)
        assert torch.equal(autobss_zoo.from_pretrained("owner/small").eval()(inputs), expected)

        other = autobss_zoo.create_model({code!r}, num_classes=5).eval()
        autobss_zoo.push_to_hub(other, "owner/small")
        assert torch.equal(with_timm("owner/small").eval()(inputs), other(inputs))
        for load in (autobss_zoo.from_pretrained, with_timm):
            assert torch.equal(load(f"owner/small@{{commit.oid}}").eval()(inputs), expected)
            adapted = load("owner/small", num_classes=3, in_chans=1)
            assert adapted(inputs[:, :1]).shape == (2, 3)
            assert torch.equal(adapted.conv_head.weight, other.conv_head.weight)
        again = autobss_zoo.from_pretrained("owner/small", revision=commit.oid).eval()
        assert torch.equal(again(inputs), expected)
        """,
        hub,
        tmp_path,
    )
    assert set(hub.files["owner/small", "main"]) == {"config.json", "model.safetensors", "README.md"}
    assert hub.downloads.count("model.safetensors") == 2  # two commits; every other load is from the cache
    run(
        f"""
        model = autobss_zoo.create_model({code!r}, num_classes=5).eval()
        for _ in range(2):
            autobss_zoo.push_to_hub(model, "owner/small", revision="trial")
        for load in (autobss_zoo.from_pretrained, with_timm):
            again = load("owner/small@trial", cache_dir={own_cache!r}).eval()
            assert torch.equal(again(inputs), model(inputs))
        assert not torch.equal(autobss_zoo.from_pretrained("owner/small").eval()(inputs), model(inputs))
        """,
        hub,
        tmp_path,
    )
    assert hub.downloads.count("model.safetensors") == 3
    assert {"main", "trial"} < {revision for _, revision in hub.files}
    run(
        f"""
        for load in (autobss_zoo.from_pretrained, with_timm):
            load("owner/small")
            load("owner/small@trial", cache_dir={own_cache!r})
        error = refused(lambda: autobss_zoo.from_pretrained("owner/other"), "owner/other", "check your connection")
        assert type(error.__cause__).__name__ == "LocalEntryNotFoundError"
        refused(lambda: autobss_zoo.from_pretrained("owner/small@trial"), "owner/small@trial", "check your connection")
        """,
        hub,
        tmp_path,
        HF_HUB_OFFLINE="1",
    )
    assert hub.downloads.count("model.safetensors") == 3


def test_a_private_repository_needs_its_token(hub, tmp_path):
    save_pretrained(network(), tmp_path / "saved")
    hub.commit("owner/private", {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()})
    hub.private["owner/private"] = "hf_reader"
    run(
        """
        for token in (None, False, "hf_other"):
            refused(lambda: autobss_zoo.from_pretrained("owner/private", token=token), "owner/private")
        autobss_zoo.from_pretrained("owner/private", token="hf_reader")
        """,
        hub,
        tmp_path,
    )
    assert hub.downloads.count("model.safetensors") == 1


def test_what_the_cache_holds_is_used_alone_or_replaced(hub, tmp_path):
    save_pretrained(network(), tmp_path / "saved")
    hub.commit("owner/cached", {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()})
    run(
        """
        load = lambda **options: autobss_zoo.from_pretrained("owner/cached", **options)
        refused(lambda: load(local_files_only=True), "owner/cached")
        load()
        load(force_download=True)
        load(local_files_only=True)
        """,
        hub,
        tmp_path,
    )
    assert hub.downloads.count("model.safetensors") == 2


def test_wrong_checksum_and_missing_things(hub, tmp_path):
    save_pretrained(network(), tmp_path / "saved")
    good = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    config = json.loads(good["config.json"])
    damaged = good["model.safetensors"][:-1] + b"!"
    published = create_model("mnv2_autobss_130m", num_classes=5)
    save_pretrained(published, tmp_path / "published")
    files = {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()}
    # Names another file to timm than the one that the checksum is of.
    astray = {**config, "pretrained_cfg": {**config["pretrained_cfg"], "hf_hub_filename": "other.safetensors"}}
    plain = {key: value for key, value in config.items() if key not in ("sha256", "code")}  # as timm itself saves
    hub.commit("owner/good", good)
    hub.commit("owner/damaged", {**good, "model.safetensors": damaged})
    hub.commit("owner/empty", {"config.json": good["config.json"]})
    hub.commit("owner/plain", {**good, "config.json": json.dumps(plain).encode()})
    hub.commit("owner/null", {**good, "config.json": json.dumps({**config, "sha256": None}).encode()})
    hub.commit("owner/astray", {**good, "config.json": json.dumps(astray).encode(), "other.safetensors": damaged})
    hub.commit("owner/published", files)
    checksum = sha256(tmp_path / "published" / "model.safetensors")
    run(
        f"""
        for load in (autobss_zoo.from_pretrained, with_timm):
            refused(lambda: load("owner/damaged"), "owner--damaged", "expected weights with sha256")
            refused(lambda: load("owner/astray"), "owner/astray", "hf_hub_filename names 'other.safetensors'")
            refused(lambda: load("owner/null"), "owner/null: config.json: sha256: input should be", "got None")
            refused(lambda: load("owner/empty"), "owner/empty", "model.safetensors", "push_to_hub")
            load("owner/plain")
        for name, *words in (
            ("owner/missing", "owner/missing", "no such repository", "hf auth login"),
            ("owner/damaged@nothing", "owner/damaged@nothing", "no such branch, tag or commit"),
            ("not a name", "not a name", "expected a folder that exists"),
        ):
            error = refused(lambda: autobss_zoo.from_pretrained(name), *words)
            assert error.__cause__ is not None

        # What the message says to delete is what has to be deleted.
        autobss_zoo.from_pretrained("owner/good")
        snapshots = pathlib.Path({str(tmp_path / "home" / "hub" / "models--owner--good" / "snapshots")!r})
        cached = next(snapshots.glob("*/model.safetensors"))
        cached.write_bytes(cached.read_bytes()[:-1] + b"!")
        error = refused(lambda: autobss_zoo.from_pretrained("owner/good"), "delete it and load again")
        pathlib.Path(str(error).partition(": expected")[0]).unlink()
        autobss_zoo.from_pretrained("owner/good")

        # A published network's checksum is the registry's, whatever the repository states.
        from autobss_zoo.models import register
        for name, checksum in (("fine", {checksum!r}), ("replaced", "0" * 64)):
            source = dict(hf_hub_id="owner/published", num_classes=5, sha256=checksum)
            register(replace(autobss_zoo.get("mnv2_autobss_130m"), name=f"{{name}}_autobss", weights=dict(data=source)))
        assert timm.create_model("autobss_fine", pretrained=True).num_classes == 5
        refused(lambda: timm.create_model("autobss_replaced", pretrained=True), "expected weights with sha256 0000")
        """,
        hub,
        tmp_path / "home",
    )
    assert "README.md" not in hub.downloads


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("mnv2_original", "mobilenetv2_100.ra_in1k"), *long(("resnet18_original", "resnet18.a1_in1k"))],
)
def test_hand_made_networks_have_timms_own_weights(hub, tmp_path, name, theirs):
    torch.manual_seed(1)
    save_for_hf(timm.create_model(theirs), tmp_path / "timm", safe_serialization=True)
    hub.commit(f"timm/{theirs}", {path.name: path.read_bytes() for path in (tmp_path / "timm").iterdir()})
    run(
        f"""
        expected = timm.create_model({theirs!r}, pretrained=True).eval()(inputs)
        assert {name!r} in autobss_zoo.list_models(pretrained=True)
        for spelling in ({name!r}, autobss_zoo.get({name!r}).timm_name):
            assert f"{{spelling}}.in1k" in timm.list_pretrained(f"{{spelling}}*")
            for load in (autobss_zoo.create_model, timm.create_model):
                model = load(f"{{spelling}}.in1k", pretrained=True).eval()
                assert torch.equal(model(inputs), expected)
        stated, theirs = timm.get_pretrained_cfg({name!r}), timm.get_pretrained_cfg({theirs!r})
        for key in ("mean", "std", "crop_pct", "interpolation", "test_input_size", "license", "num_classes"):
            assert getattr(stated, key) == getattr(theirs, key)
        """,
        hub,
        tmp_path / "home",
    )
    assert {path.rpartition("/")[2] for path in hub.downloads} <= {"config.json", "model.safetensors"}


def test_each_hand_made_network_names_timms_of_the_same_layers():
    made = [name for name in PAPER if name.endswith("_original") and get(name).weights]
    assert len(made) == 9
    for name in made:
        (weights,) = get(name).weights.values()
        with torch.device("meta"):
            ours, theirs = create_model(name).state_dict(), timm.create_model(of_timm(weights)).state_dict()
        assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}
