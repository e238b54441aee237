"""Folders that anybody can have written: each loads as it was saved, or is refused in one line."""

import json
import os
import pickle
from dataclasses import replace

import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from timm.models import save_for_hf

from autobss_zoo import Code, create_model, from_pretrained, save_pretrained
from autobss_zoo.detection import create_detector
from autobss_zoo.errors import AutoBSSError, WeightsError
from autobss_zoo.models import register
from autobss_zoo.registry import read_published
from conftest import tiny

INPUTS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
HUGE = "resnet18{16384,16384,16384,16384,256,256,256,256}"
PUBLISHED = {
    "name": "mutant_autobss",
    "tag": "x",
    "found_by": "autobss",
    "source": "a test",
    "recipe": "small/digits",
    "accuracy": {"top1": 50.0, "text": "Top-1 50%"},
}

plain = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.sampled_from([10**30, -1, 0, 2**63, 1e308, float("inf"), float("nan")])
    | st.text(max_size=20)
    | st.sampled_from(["../../etc/passwd", "resnet18", HUGE, "\n\n", "\ud800"])
)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))


def nodes(value, path=()):
    """The paths of every node of a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from nodes(inner, (*path, key))


def changed(config, path, change):
    """A copy with one node dropped, nested or replaced."""
    if not path:
        return change(config)
    config = json.loads(json.dumps(config))
    *above, last = path
    parent = config
    for key in above:
        parent = parent[key]
    if change is None:
        del parent[last]
    else:
        parent[last] = change(parent[last])
    return config


@st.composite
def contents(draw, config, weights):
    """A config.json and weights of which one or both are not as they were saved."""
    text, data = json.dumps(config), weights
    for _ in range(draw(st.integers(0, 2))):
        current = json.loads(text)
        path = draw(st.sampled_from(list(nodes(current))))
        changes = {"nest": lambda node: {"a": node}, "list": lambda node: [node], "drop": None}
        name = draw(st.sampled_from([*changes, "replace", "replace"] if path else ["nest", "list", "replace"]))
        value = draw(values) if name == "replace" else None
        text = json.dumps(changed(current, path, changes.get(name, lambda _, value=value: value)))
        if not isinstance(json.loads(text), dict):
            break
    content = draw(
        st.just(text.encode())
        | st.sampled_from([b"", b"\xff\xfe{", b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"9" * 9999])
        | st.integers(0, len(text)).map(lambda n: text.encode()[:n])
        if draw(st.booleans())
        else st.just(text.encode())
    )
    if draw(st.integers(0, 3)) == 0:
        cut = draw(st.integers(0, len(data) - 1))
        data = draw(st.sampled_from([b"", data[:cut], pickle.dumps({"a": 1}), data + b"!", b"\xff" * 16 + data]))
    return content, data


def loads_or_is_refused(load, network, inputs=INPUTS):
    """Run `load`; a network that it gives has the weights of `network`, and answers the same where there are inputs."""
    refused = None
    try:
        again = load()
    except AutoBSSError as error:
        refused = str(error)
    if refused is not None:
        assert len(refused.splitlines()) == 1, refused
        assert len(refused) < 1500
        return
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    if inputs is not None:
        assert torch.equal(again.eval()(inputs), network.eval()(inputs))


def written(folder, content, data):
    (folder / "config.json").write_bytes(content)
    (folder / "model.safetensors").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A network, its folder's configuration (that of a published one, too), its weights and a folder to write into."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("foreign")
    network = create_model(tiny("resnet18_small"), num_classes=5)
    save_pretrained(network, folder)
    config = json.loads((folder / "config.json").read_text())
    return network, {**config, "published": PUBLISHED}, (folder / "model.safetensors").read_bytes(), folder


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("detector")
    code = Code.parse("resnet50_v1{16,24,24,40,1,1,2,1,5,8,8,16}")
    network = create_detector("retinanet", code, 4, width=16, min_size=64, max_size=96)
    save_pretrained(network, folder)
    config = json.loads((folder / "config.json").read_text())
    return network, config, (folder / "model.safetensors").read_bytes(), folder


quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@quick
@given(data=st.data())
def test_classifiers(classifier, data):
    network, config, weights, folder = classifier
    written(folder, *data.draw(contents(config, weights)))
    loads_or_is_refused(lambda: from_pretrained(folder), network)


@quick
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:Overwriting")
def test_published_networks(classifier, data):
    network, config, weights, folder = classifier
    written(folder, *data.draw(contents(config, weights)))

    def load():
        register(replace(read_published(folder), name="mutant_autobss"))
        return create_model_in_timm("mutant_autobss")

    loads_or_is_refused(load, network)


def create_model_in_timm(name):
    return timm.create_model(name, pretrained=True)


@settings(quick, max_examples=30)
@given(data=st.data())
def test_detectors(detector, data):
    network, config, weights, folder = detector
    written(folder, *data.draw(contents(config, weights)))
    loads_or_is_refused(lambda: from_pretrained(folder), network, None)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("code",), 7, "code: input should be a valid string, got 7"),
        (("code",), "resnet18{1,2}", "resnet18 code: expected 8 elements"),
        (("code",), str(tiny("mnv2_small")), "expected one code"),
        (("model_args",), [], "model_args: input should be an object"),
        (("model_args", "code"), None, "model_args.code: is missing"),
        (("model_args", "checkpoint_path"), "/etc/passwd", "checkpoint_path is none"),
        (("model_args", "act_layer"), {"a": 1}, "model_args.act_layer: expected a number, a text"),
        (("model_args", "act_layer"), "nothing", "gives no network"),
        (("model_args", "code"), HUGE, "expected one code"),
        (("architecture",), "resnet18", "cannot load it into timm's resnet18"),
        (("architecture",), "resnet18_autobss", "the code of resnet18_autobss"),
        (("architecture",), "nothing", "architecture: nothing is no network of timm"),
        (("architecture",), "../x", "architecture: string should match"),
        (("num_classes",), 10**9, "num_classes: input should be less than or equal to"),
        (("num_classes",), "5", "num_classes: input should be a valid integer, got '5'"),
        (("sha256",), None, "sha256: input should be a valid string, got None"),
        (("pretrained_cfg",), 3, "pretrained_cfg: input should be"),
        (("pretrained_cfg", "file"), "/etc/passwd", "pretrained_cfg: file names '/etc/passwd'"),
        (("pretrained_cfg", "url"), "http://127.0.0.1/x", "pretrained_cfg: url names"),
        (("pretrained_cfg", "hf_hub_id"), "owner/name", "pretrained_cfg: hf_hub_id names"),
        (("pretrained_cfg", "custom_load"), True, "pretrained_cfg: custom_load names True"),
        (("pretrained_cfg", "odd"), 1, "knows no 'odd'"),
        (("pretrained_cfg", "input_size"), [3, 10**9, 32], "pretrained_cfg.input_size.1: "),
        (("pretrained_cfg", "std"), [0.0], "pretrained_cfg.std.0: input should be greater than 0"),
    ],
)
def test_what_is_wrong_is_named(classifier, keys, value, message):
    _, config, weights, folder = classifier
    config = json.loads(json.dumps(config))
    parent = config
    for key in keys[:-1]:
        parent = parent[key]
    parent[keys[-1]] = value
    written(folder, json.dumps(config).encode(), weights)
    with pytest.raises(WeightsError) as caught:
        from_pretrained(folder)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_is_not_waited_for(classifier, name, tmp_path):
    _, config, weights, _ = classifier
    written(tmp_path, json.dumps(config).encode(), weights)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(WeightsError, match=r"expected a file of up to|no such file of weights"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("name", ["autobss_mnv2_130m", "resnet18"])
def test_folders_that_timm_itself_saved(name, safe, tmp_path):
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3).eval()
    save_for_hf(network, tmp_path, safe_serialization=safe)
    again = from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        assert torch.equal(again(INPUTS), network(INPUTS))
    assert hasattr(again, "about") == (name != "resnet18")
    if not safe:
        (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(os.system))
        with pytest.raises(WeightsError, match=r"pytorch_model\.bin: expected weights"):
            from_pretrained(tmp_path)


def test_weights_of_another_network_cost_no_memory(classifier, tmp_path):
    """A code of terabytes is refused by the shapes that the file states."""
    _, config, _, _ = classifier
    config = {**config, "code": HUGE, "model_args": {**config["model_args"], "code": HUGE}}
    del config["sha256"]
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    for load in (from_pretrained, lambda folder: timm.create_model(f"local-dir:{folder}", pretrained=True)):
        with pytest.raises(WeightsError, match="the weights are of another network"):
            load(tmp_path)
