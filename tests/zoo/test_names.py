"""Names of published networks replace nobody's, in timm, in the zoo and in Python."""

import json
import os
import shutil
import subprocess
import sys
from types import ModuleType

import pytest
import timm
from hypothesis import assume, given
from hypothesis import strategies as st

import autobss_zoo.autobss
import autobss_zoo.models
import hubconf
from autobss_zoo.errors import UnknownNameError, WeightsError
from autobss_zoo.names import check_name, is_repository, is_saved, timms_names
from autobss_zoo.registry import PUBLISHED, check_free, entries, find, get, list_models, read_published


def names_in_timm() -> set[str]:
    return {name for entry in entries().values() for name in (entry.name, entry.timm_name)}


def test_the_names_that_are_read_off_timms_files_are_those_that_timm_registers():
    ours = {name for name in timm.list_models() if timm.models.is_model_in_modules(name, ["autobss"])}
    assert ours >= {*names_in_timm(), "autobss_from_code"}
    assert timms_names() >= set(timm.list_models()) - ours, "timm states its networks otherwise: mend names.py"
    assert {"tv_resnet50", "ig_resnext101_32x8d"} <= timms_names()  # names that are no longer used, but still work
    assert not timms_names() & names_in_timm()


@given(st.one_of(st.sampled_from(sorted(timms_names())), st.text(max_size=12), st.sampled_from(["class", "a" * 65])))
def test_no_name_of_timms_and_nothing_that_is_no_identifier(name):
    plain = name.isascii() and name.isidentifier() and name == name.lower() and name[:1] not in "_" and len(name) < 65
    assume(not plain or name in timms_names() or name == "class")
    with pytest.raises(WeightsError, match=r"^name: .*(expected up to 64|is a network of timm's)[^\n]*\Z"):
        check_name(name, "tag")
    with pytest.raises(WeightsError, match=r"^(tag|name): "):
        check_name("fine", name if name not in timms_names() else "a b")


@pytest.mark.parametrize("name", ["dependencies", "autobss_from_code"])
def test_reserved_names(name):
    with pytest.raises(WeightsError, match=f"name: {name} is reserved"):
        check_name(name, "tag")


def test_a_name_of_ours_is_free_for_its_own_code_alone():
    known = entries().values()
    entry = get("resnet18_autobss")
    assert check_free("resnet18_autobss", entry.code, known, "x") is entry
    assert check_free("resnet18_mine", get("resnet18_random").code, known, "x") is None
    for name in ("resnet18_autobss", "autobss_resnet18", "resnet18"):  # timm knows all three as autobss_resnet18
        with pytest.raises(WeightsError, match=r"x: resnet18_autobss is resnet18\{32,.*\} already"):
            check_free(name, get("resnet18_random").code, known, "x")


def test_entry_points_are_apart_from_functions():
    """A network called create_model, default_cfgs or register replaces nothing."""
    registered = set(timm.list_models(module="autobss"))
    assert registered >= names_in_timm()
    assert not registered & vars(autobss_zoo.models).keys()
    assert not registered & vars(autobss_zoo.autobss).keys()
    assert {k for k, v in vars(autobss_zoo.autobss).items() if not k.startswith("__")} == {"Any", "default_cfgs"}
    assert not any(isinstance(vars(hubconf)[name], ModuleType) for name in names_in_timm())


def published(folder, **facts):
    """A copy of a published network under other facts."""
    copy = shutil.copytree(PUBLISHED / "mnv2_small_random.fmnist", folder / "{name}.{tag}".format(**facts))
    config = json.loads((copy / "config.json").read_text())
    config["published"] |= facts
    (copy / "config.json").write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize(("name", "tag"), [("resnet18", "x"), ("create model", "x"), ("fine", "A"), ("__init__", "x")])
def test_published_folders_are_checked_when_they_are_read(name, tag, tmp_path):
    folder = published(tmp_path, name=name, tag=tag)
    with pytest.raises(WeightsError, match=rf"{folder}: (name|tag): "):
        read_published(folder)


def test_networks_with_names_of_functions_are_networks(tmp_path):
    for name in ("create_model", "default_cfgs", "register"):
        published(tmp_path, name=name, tag="x")
    program = """
import autobss_zoo, timm, hubconf
assert callable(autobss_zoo.create_model) and autobss_zoo.models.create_model is autobss_zoo.create_model
for name in ("create_model", "default_cfgs", "register", "autobss_create_model"):
    assert timm.create_model(name, pretrained=True).num_classes == 10
    assert autobss_zoo.create_model(name, pretrained=True).num_classes == 10
print(autobss_zoo.list_models("*register"))
"""
    environment = {**os.environ, "AUTOBSS_ZOO": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "['register']\n", done.stderr
    assert "register" not in list_models()


def test_a_tag_that_is_not_there_is_named():
    assert find("resnet_small_autobss.fmnist")[1] is get("resnet_small_autobss")
    with pytest.raises(UnknownNameError, match=r"no weights with the tag 'imagenet': its tags are fmnist"):
        find("resnet_small_autobss.imagenet")
    with pytest.raises(UnknownNameError, match=r"resnet50_autobss has no weights with the tag '': none are published"):
        find("resnet50_autobss.")


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("owner/name", True),
        ("owner/name@v1.0", True),
        (".", True),
        ("resnet18_autobss", False),
        ("resnet18{1,2}", False),
        ("a/b/c", False),
        ("hf-hub:owner/name", False),
    ],
)
def test_what_is_saved_is_told_from_names(name, saved):
    assert is_saved(name) == saved
    assert is_repository(name) == (saved and "/" in name)
