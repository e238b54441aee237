"""Whole searches for a base and its strategies by recipes: a super-supernet, the search, trainings of the answers."""

import json
import re

import pytest
from safetensors.torch import load_file

import forked
from autobss_search.command.cli import main
from autobss_search.studies.reading import read_records
from autobss_search.studies.recipe import SearchRecipe
from autobss_zoo import from_pretrained
from autobss_zoo.yaml_text import write_yaml

SETTING = {
    "base": "small/digits",
    "train_images": 300,
    "evaluate_every": None,
    "warmup_epochs": 0.5,
    "checkpoint_steps": 3,
}
SCALING = [
    {"depth": [1], "width": [1], "side": [8]},
    {"depth": [1, 1.16], "width": [1, 1.16], "side": [8, 9, 10]},
    {"depth": [1.16, 1.5], "width": [1.16, 1.32], "side": [10, 11, 12]},
]
SPACE = {
    "base": "scalenet_tiny_scaled",
    "L": {"step": 1, "high": [2, 3, 3]},
    "O": {"ordered": False, "choices": [[10], *[[13, 14, 16]] * 6]},
    "W": {"choices": [1000, 1160, 1320]},
    "R": {"choices": [8, 9, 10, 11, 12]},
    "num_classes": 10,
    "in_chans": 1,
    "budget": {"macs": "100K..250K"},
}
RECIPE = {
    "score": {
        "kind": "supernet", **SETTING, "task": "supernet", "space": SPACE, "scaling": SCALING,
        "principle": "unilateral", "epochs": 4, "holdout": 0.3, "images": 200,
    },
    "searcher": "mcea",
    "options": {"scaling": SCALING, "bases": 3, "iterations": 1, "population": 4, "generations": 3, "tolerance": 0.3},
    "enqueue": "none",
    "rounds": 20,
    "batch": 60,
    "retrain": {**SETTING, "epochs": 3},
}  # fmt: skip


def write(folder):
    (folder / "mine.yaml").write_text(write_yaml(RECIPE))
    return str(folder / "mine.yaml")


def test_a_recipe_trains_searches_and_trains_each_answer(tmp_path, capsys):
    study = tmp_path / "study"
    assert main(["search", write(tmp_path), "--folder", str(study)]) == 0
    text = capsys.readouterr().out
    answers = re.findall(r"s\d: (\S+)", text)
    assert len(answers) == 3
    assert re.search(r"answer: (\S+)", text)[1] == answers[-1]
    for number, answer in enumerate(answers):
        network = from_pretrained(study / f"retrained/s{number}/last")
        assert str(network.about.code) == answer
    recipe = SearchRecipe.load(study / "search.yaml")
    base = recipe.make_searcher().bases.parse(answers[0])
    assert base in recipe.make_searcher().bases
    assert main(["report", str(study), "--plots", str(tmp_path / "plots")]) == 0
    assert re.findall(r"s\d: (\S+)", capsys.readouterr().out) == answers
    assert (tmp_path / "plots/convergence.png").stat().st_size > 10_000
    assert all(record.state == "complete" for record in read_records(study))


def scored(folder):
    """How many scores a study has."""
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return sum('"score"' in line for line in lines)


@pytest.mark.slow
def test_killed_in_every_phase_it_goes_on_to_the_same_answers_and_weights(tmp_path, capsys):
    recipe, whole, parts = write(tmp_path), tmp_path / "whole", tmp_path / "parts"
    assert main(["search", recipe, "--folder", str(whole)]) == 0
    expected = re.findall(r"s\d: (\S+)", capsys.readouterr().out)
    records = read_records(whole)
    steps = [sum(r.round <= round for r in records) for round in range(1 + max(r.round for r in records))]
    assert len(steps) >= 4  # the first strategies, generations, the strategies
    reached = [
        (parts / "models/supernet/last.pt").exists,  # in the supernet's training
        lambda: scored(parts) > steps[0] // 2,  # among the first strategies
        lambda: scored(parts) > steps[0],  # in the base search
        lambda: scored(parts) > steps[-2],  # among the strategies of the best base
        (parts / "retrained/s0/last.pt").exists,
        (parts / "retrained/s2/last.pt").exists,
    ]
    words = ["search", recipe, "--folder", parts]
    for there in reached:
        forked.kill_when(there, forked.COMMAND, *words)
        words = ["resume", parts]
    assert main(["resume", str(parts)]) == 0
    assert re.findall(r"s\d: (\S+)", capsys.readouterr().out) == expected
    assert [(r.code, r.value) for r in read_records(parts)] == [(r.code, r.value) for r in records]
    for name in ("models/supernet/last", *(f"retrained/s{number}/last" for number in range(3))):
        found, weights = (load_file(folder / name / "model.safetensors") for folder in (parts, whole))
        assert all((found[key] == weights[key]).all() for key in weights), name
    assert json.loads((parts / "study.json").read_text())["searcher"]["searcher"] == "MCEA"
