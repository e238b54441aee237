"""The wheel, installed without extras and away from the checkout, has all that it needs and works."""

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXTRAS = ["fvcore", "matplotlib", "onnx", "onnxruntime", "plotly", "pycocotools", "pymoo", "ray", "tensorboard"]

PROGRAM = f"""
from importlib.util import find_spec
assert not [name for name in {EXTRAS} if find_spec(name)]

import timm, torch
import autobss_zoo
from autobss_search import AutoBSS, Session, get_space
from autobss_zoo import Code, get_family

model = timm.create_model("autobss_resnet_small_original.fmnist", pretrained=True).eval()
assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)
print(get_family("resnet18").cost(Code.parse("resnet18{{32,32,128,1024,4,14,14,1}}")).macs)

search = Session(AutoBSS(get_space("resnet18_small", macs="10M"), n_candidates=50))
for code in search.ask(4):
    search.tell(code, float(sum(code.layers)))
print(search.recommend())
print(autobss_zoo.__file__)
"""


def run(*command, cwd):
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needed(requirements, found):
    """What is installed of the requirements and of theirs, by name and extra."""
    for requirement in map(Requirement, requirements):
        for extra in {"", *requirement.extras}:
            if (requirement.name, extra) not in found:
                found[requirement.name, extra] = distribution(requirement.name)
                needed(applying(requires(requirement.name) or (), extra), found)
    return found


def applying(requirements, extra=""):
    """Those of the requirements that apply here, with an extra or without any."""
    markers = {line: Requirement(line).marker for line in requirements}
    return [line for line, marker in markers.items() if not marker or marker.evaluate({"extra": extra})]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel):
    """A new environment, where links to what is installed here stand for downloads: pip then finds every requirement
    of the wheel, and nothing that it does not require."""
    folder = wheel.parent / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=wheel.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = re.findall(r"^Requires-Dist: (.*)$", archive.read(name).decode(), re.MULTILINE)
    for installed in needed(applying(lines), {}).values():
        for top in {file.parts[0] for file in installed.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(installed.locate_file(top))
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python")
    run(*pip, "install", "--quiet", "--no-index", wheel, cwd=wheel.parent)
    return folder


@pytest.mark.slow
def test_recipes_cards_networks_and_types_are_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for source, folder in (
        ("recipes", "autobss_zoo/recipe_files"),
        ("model_cards", "autobss_zoo/model_cards"),
        ("autobss_zoo", "autobss_zoo"),
        ("search/autobss_search", "autobss_search"),
    ):
        files = {path for path in (ROOT / source).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        assert files
        assert {f"{folder}/{path.relative_to(ROOT / source).as_posix()}" for path in files} <= names
    assert {"autobss_zoo/py.typed", "autobss_search/py.typed"} <= names


@pytest.mark.slow
def test_it_loads_counts_and_searches_without_extras(environment):
    macs, found, where = run(environment / "bin/python", "-c", PROGRAM, cwd=environment).splitlines()
    assert macs == "1809367040"
    assert found.startswith("resnet18_small{")
    assert Path(where).is_relative_to(environment)


@pytest.mark.slow
def test_its_command_describes_a_network(environment):
    shown = run(environment / "bin/autobss", "info", "resnet18_autobss", cwd=environment)
    assert "resnet18{32,32,128,1024,4,14,14,1}" in shown
    assert "1,809,367,040" in shown or "1.81" in shown
