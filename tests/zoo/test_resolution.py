"""R, the side of the images, as an element of a code: costs, preprocessing, training, evaluation, export follow it."""

import json

import numpy as np
import onnxruntime
import pytest
import yaml

import autobss_zoo
from autobss_search import AutoBSS, Session, get_space, load_space
from autobss_search.command.cli import main
from autobss_search.conformance import check_space
from autobss_search.errors import SpaceError
from autobss_search.studies.reading import read_records
from autobss_zoo import Code, Setting, create_model
from autobss_zoo.cost import count_network
from autobss_zoo.detection import create_detector
from autobss_zoo.errors import CodeError
from autobss_zoo.export.classifiers import to_onnx
from autobss_zoo.families import get_family
from autobss_zoo.families.detectors import DetectorKind
from autobss_zoo.segmentation import create_segmenter
from autobss_zoo.training import TrainingRecipe, train
from conftest import KNOWN, exports, tiny

CODE = Code.parse("resnet18_small_r{8,8,16,32,1,1,1,1,12}")


def test_every_family_has_a_twin_with_resolution():
    for name in KNOWN:
        if (family := get_family(name)).inner is family:
            code = Code(f"{name}_r", (*family.original, 97))
            plain = Code(name, family.original)
            assert get_family(f"{name}_r").cost(code) == family.cost(plain, Setting(97))
            assert get_family(f"{name}_r").cost(code, Setting(32, 1, 10)) == family.cost(plain, Setting(97, 1, 10))


def test_costs_of_many_codes_follow_their_sides():
    family = get_family("efficientnet_b0_small_r")
    codes = np.array([tiny(family.name).values] * 3)
    codes[:, -1] = 32, 41, 64
    for row, macs in zip(codes, family.cost(codes).macs, strict=True):
        assert macs == family.cost(Code(family.name, row)).macs


@exports
def test_preprocessing_export_and_evaluation_follow_the_code(tmp_path):
    model = create_model(CODE, num_classes=10, in_chans=1)
    assert model.pretrained_cfg["input_size"][1:] == (12, 12)
    report = to_onnx(model, tmp_path / "a.onnx")
    assert onnxruntime.InferenceSession(report.path).get_inputs()[0].shape[2:] == [12, 12]
    assert report.macs == get_family(CODE.family).cost(CODE, Setting(None, 1, 10)).macs


def test_training_and_evaluation_follow_the_code(tmp_path, capsys):
    changes = {"model": str(CODE), "epochs": 2, "holdout": 0.2}
    recipe = TrainingRecipe.load("small/digits", changes)[0]
    assert recipe.counting["setting"].input_size == 12
    assert TrainingRecipe.load("small/digits", {**changes, "input_size": 16})[0].prepare().side == 12
    accuracy, network = train(recipe, tmp_path / "run")
    assert network.pretrained_cfg["input_size"] == (1, 12, 12)
    assert autobss_zoo.from_pretrained(tmp_path / "run" / "last").about.code == CODE
    config = json.loads((tmp_path / "run" / "last" / "config.json").read_text())
    assert config["macs"] == count_network(network, Setting(12, 1)).macs
    assert main(["evaluate", str(tmp_path / "run" / "last"), "--data", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 360
    other = TrainingRecipe.load("small/digits", {**changes, "model": str(CODE).replace("12}", "8}")})[0]
    assert other.prepare().batches(__import__("torch").device("cpu"))._side == 8
    assert accuracy.images == 288


def test_detectors_and_segmenters_follow_the_code():
    code = Code.parse("resnet18_r{8,8,16,16,1,1,1,1,96}")
    detector = create_detector("retinanet", code, 3, width=8)
    assert (detector.transform.min_size, detector.transform.max_size) == ((96,), 160)
    inner = Code("resnet18", code[:-1])
    kind = DetectorKind("retinanet", 8)
    setting = Setting(96, num_classes=3)
    assert kind.macs(get_family("resnet18_r"), code, setting) == kind.macs(get_family("resnet18"), inner, setting)
    assert create_segmenter("psanet", code, 3, width=8).about.arguments["input_size"] == 96


@pytest.mark.parametrize(
    "name", ["resnet18_small", "mnv2_small", "efficientnet_b0", "channel_bench_resnet", "resnet50"]
)
def test_declared_spaces_are_searched_over_resolutions(name):
    plain = get_space(name)
    side = get_family(name).input_size
    space = get_space(name, rules={"R": {"choices": [side // 2, side * 3 // 4, side]}})
    assert space.size == 3 * plain.size
    assert space.constraints[0].upper == plain.constraints[0].upper
    check_space(space, n=40)
    session = Session(AutoBSS(space, n_candidates=200))
    for _ in range(2):
        for code in session.ask(16):
            assert (
                get_family(code.family).cost(code, space.constraints[0].function.counted.setting).macs
                <= plain.constraints[0].upper
            )
            session.tell(code, float(np.log(code.values).sum()))
    assert len({o.code[-1] for o in session.observations}) > 1


def test_detectors_spaces_are_searched_over_resolutions():
    space = get_space("retinanet_r50", rules={"R": {"choices": [640, 720, 800]}})
    code = space.code((*get_space("retinanet_r50").layout.example, 800))
    assert space.costs(space.encode([code]))["macs"] == [146245594112] if code in space else True
    small = space.code((*get_family("resnet50_v1").original, 640))
    assert space.constraints[0].costs(np.array([small.values]))[0] < 146245594112 * 0.7


def test_a_study_over_resolutions_trains_each_code_at_its_own(tmp_path, capsys):
    training = {"base": "small/digits", "epochs": 2, "holdout": 0.2, "train_images": 200}
    rules = {"base": "resnet18_small", "R": {"choices": [8, 12]}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"space": rules, "budget": "400K", "training": training}))
    options = ["--rounds", "1", "--batch", "4", "--searcher", "random", "--folder", str(tmp_path / "study")]
    assert main(["search", str(tmp_path / "r.yaml"), *options]) == 0
    records = read_records(tmp_path / "study")
    assert {r.code.family for r in records} == {"resnet18_small_r"}
    for record in records:
        (config,) = (tmp_path / "study" / "models").glob(f"*-{'-'.join(map(str, record.code))}-seed*/last/config.json")
        assert json.loads(config.read_text())["pretrained_cfg"]["input_size"] == [1, record.code[-1], record.code[-1]]
    capsys.readouterr()


def test_the_command_follows_the_code_and_says_so(capsys):
    assert main(["info", str(CODE)]) == 0
    out = capsys.readouterr().out
    assert "image side: 12" in out
    assert "Of one 12x12 image" in out
    assert main(["info", str(CODE), "--input-size", "16"]) == 2
    assert "is for images of 12 pixels; leave it out" in capsys.readouterr().err


def test_sides_are_checked():
    with pytest.raises(CodeError, match=r"element 9 \(R\): expected an integer from 8 to 4096, got 4"):
        Code("resnet18_small_r", (*CODE[:-1], 4))
    with pytest.raises(SpaceError, match=r"R: expected integers from 8 to 4,096, got 4"):
        load_space({"base": "resnet18_small", "R": {"choices": [4, 8]}})
