"""What needs no network needs no torch; timm knows the networks in whatever order things are imported."""

import subprocess
import sys

import pytest

from conftest import long

HEAVY = ("torch", "timm", "torchvision", "huggingface_hub")


def run(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "program",
    [
        "import autobss_zoo, autobss_zoo.codes, autobss_zoo.cost, autobss_zoo.families, autobss_zoo.registry",
        "import autobss_search.spaces, autobss_search.searchers, autobss_search.conformance",
        "from autobss_zoo import Code; Code.parse('resnet50{64,64,256,512,2,3,4,1,8,8,8,8}')",
        "import autobss_zoo as z; e = z.get('maskrcnn_r50_autobss'); e.family.cost(e.code, e.setting); z.list_models()",
        "from autobss_search import *; s = Session(AutoBSS(get_space('resnet18_small', macs='10M'), n_candidates=50))\n"
        "for c in s.ask(16): s.tell(c, sum(c))\ns.ask(2); s.recommend()",
    ],
)
def test_the_core_needs_no_torch(program):
    assert run(f"{program}\nimport sys; print([m for m in {HEAVY} if m in sys.modules])").strip() == "[]"


CREATE = "print(timm.create_model('autobss_resnet18', num_classes=2).about.code)"


@pytest.mark.parametrize(
    "imports",
    [
        "import timm, autobss_zoo",
        "import autobss_zoo, importlib.util; importlib.util.find_spec('timm'); import timm",
        "import autobss_zoo.weights, timm",
        *long(
            "import autobss_zoo, timm",
            "import autobss_zoo; import timm.models; import timm",
            "import autobss_zoo.composed, timm",
            "import autobss_zoo.codes; from timm.models import create_model; import timm",
            "import autobss_zoo; autobss_zoo.create_model('resnet18_original'); import timm",
        ),
    ],
)
def test_timm_knows_the_networks_in_any_order(imports):
    assert "resnet18{32,32,128,1024,4,14,14,1}" in run(f"{imports}\n{CREATE}")


def test_nothing_happens_to_timm_without_the_zoo():
    assert run("import timm; print(timm.is_model('autobss_resnet18'))").strip() == "False"
