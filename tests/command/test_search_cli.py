"""The verbs search, resume and report, as a user types them."""

import csv
import json
import subprocess
import sys

import onnxruntime
import pytest
import yaml
from test_evaluators import entries

from autobss_search.command.cli import main
from autobss_search.errors import SpaceError
from autobss_search.reports.plots import plot_history, plot_refining
from autobss_search.spaces import parse_budget
from autobss_search.studies.reading import read_records
from autobss_search.studies.recipe import SearchRecipe
from autobss_zoo import Setting
from conftest import exports

CODE = "resnet18_small{8,8,16,32,1,1,1,1}"


def table(tmp_path, name):
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(entries("1234", 4, "acc")))
    return str(path)


@exports
def test_search_report_and_every_file(tmp_path, capsys):
    folder = str(tmp_path / "study")
    command = ["search", "--table", table(tmp_path, "cli"), "--budget", "1000", "--rounds", "3", "--batch", "8"]
    assert main([*command, "--folder", folder]) == 0
    first = capsys.readouterr()
    assert "round 3 of 3" in first.err
    assert "answer: table_cli{" in first.out
    assert main(["resume", folder]) == 0
    assert capsys.readouterr().out == first.out
    files = [f"{tmp_path}/{name}" for name in ("t.csv", "t.json", "plots")]
    assert main(["report", folder, "--csv", files[0], "--json", files[1], "--plots", files[2], "--top", "3"]) == 0
    out = capsys.readouterr().out
    assert out.count("table_cli{") == 4
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    data = json.loads((tmp_path / "t.json").read_text())
    records = read_records(tmp_path / "study")
    assert [r["code"] for r in rows] == [d["code"] for d in data] == [str(r.code) for r in records]
    assert [float(r["value"]) for r in rows] == [r.value for r in records]
    assert {"W1", "W4", "macs", "round", "seed", "errors"} <= rows[0].keys()
    assert data[0]["elements"].keys() == {"W1", "W2", "W3", "W4"}
    assert main(["report", folder, "--csv", f"{tmp_path}/no/t.csv"]) == 1
    assert "t.csv: the folder" in capsys.readouterr().err
    assert main(["report", folder, "--trial", "1"]) == 2
    assert "--trial: says which trial to --export" in capsys.readouterr().err
    for name in ("history.png", "refining.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_a_recipe_and_options_that_replace_its_values(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"table": table(tmp_path, "recipe"), "rounds": 1, "batch": 4, "searcher": "random"})
    )
    assert main(["search", str(recipe), "--folder", str(tmp_path / "s"), "--batch", "5"]) == 0
    assert "answer: table_recipe{" in capsys.readouterr().out
    assert len(read_records(tmp_path / "s")) == 5
    kept = yaml.safe_load((tmp_path / "s" / "search.yaml").read_text())
    assert (kept["batch"], kept["searcher"]) == (5, "random")
    assert main(["search", str(recipe), "--folder", str(tmp_path / "s"), "--batch", "5", "--seed", "3"]) == 1
    assert "holds another study: its searcher.seed is 0, not 3" in capsys.readouterr().err


@exports
def test_from_a_budget_to_a_model_file(tmp_path, capsys):
    folder = tmp_path / "trained"
    command = ["search", "--space", "resnet18_small", "--budget", "200K", "--train", "small/digits"]
    small = ["epochs=2", "input_size=8", "holdout=0.2"]
    command += [word for setting in small for word in ("--set", f"training.{setting}")]
    options = ["--rounds", "1", "--batch", "2", "--enqueue", CODE, "--workers", "2", "--folder", str(folder)]
    assert main([*command, *options]) == 0
    assert f"{CODE} " in capsys.readouterr().err
    assert [r.source for r in read_records(folder)] == ["enqueued", "searcher"]
    model = tmp_path / "model.onnx"
    assert main(["report", str(folder), "--export", str(model), "--trial", "0", "--plots", str(tmp_path / "p")]) == 0
    assert f"wrote {model}: {CODE}" in capsys.readouterr().out
    assert onnxruntime.InferenceSession(str(model)).get_outputs()[0].shape[1] == 10
    assert (tmp_path / "p" / "allocation.png").is_file()
    assert main(["report", str(folder), "--export", str(model), "--trial", "99"]) == 1
    assert "there is no trial 99" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search"], 2, "expected one of training (a recipe), table"),
        (["search", "--train", "small/digits"], 2, "space: expected a name or a file; declared: resnet18,"),
        (["search", "--train", "small/digits", "--space", "resnet81"], 2, "did you mean resnet18"),
        (["search", "--train", "small/digit", "--space", "resnet18"], 2, "did you mean small/digits"),
        (["search", "--train", "small/digits", "--space", "mnv2_small", "--budget", "1K"], 2, "smallest reachable is"),
        (
            ["search", "--train", "small/digits", "--space", "mnv2_small", "--budget", "x=3"],
            2,
            "expected macs or params or activations or latency, got x",
        ),
        (
            ["search", "--train", "small/digits", "--space", "mnv2_small", "--budget", "lots"],
            2,
            "positive amount such as",
        ),
        (
            ["search", "--train", "small/digits", "--space", "mnv2_small", "--searcher", "auto"],
            2,
            "did you mean autobss",
        ),
        (
            ["search", "--train", "small/digits", "--space", "mnv2_small", "--rounds", "0"],
            2,
            "rounds: expected a positive",
        ),
        (["search", "--train", "small/digits", "--space", "resnet18_small", "--enqueue", "resnet18_small{1}"], 2, "L5"),
        (
            ["search", "--train", "small/digits", "--space", "mnv2_small", "--workers", "0"],
            2,
            "workers: expected a positive",
        ),
        (["resume", "nowhere"], 1, "there is no study here; `autobss search` starts one"),
        (["report", "nowhere"], 1, "there is no study here"),
        (["search", "nowhere.yaml"], 2, "nowhere.yaml: there is no such file"),
        (["search", "small/digits"], 2, "small/digits: is a training's recipe, for `autobss train`"),
        (["search", "small/digits_search", "--set", "training.epoch=3"], 2, "unknown key 'epoch': did you mean epochs"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert err.startswith("autobss: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tabel: x", "unknown key 'tabel': did you mean table or"),
        ("- 1", "expected a mapping of keys to values"),
        ("{", "no YAML"),
        ("{training: small/digits, table: x}", "expected one of training"),
        (
            "{training: small/digits, space: mnv2_small, rounds: many}",
            "rounds: expected a positive integer, got 'many'",
        ),
    ],
)
def test_bad_recipes_name_the_file_and_the_key(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bad\.yaml: ") as caught:
        SearchRecipe.load(path)
    assert message in str(caught.value)


def test_a_kept_recipe_means_the_same(tmp_path):
    training = {"base": "small/digits", "epochs": 2, "batch_size": 32}
    recipe = SearchRecipe.load(
        {"space": "mnv2_small", "training": training, "budget": "3M", "enqueue": [CODE], "seed": 4}
    )
    path = tmp_path / "r.yaml"
    path.write_text(recipe.dump())
    again = SearchRecipe.load(path)
    assert again.make_evaluator().load() == recipe.make_evaluator().load()
    assert again.make_space().describe() == recipe.make_space().describe()
    assert (again.budget, again.enqueue, again.seed) == (recipe.budget, recipe.enqueue, 4)
    assert "base" not in yaml.safe_load(path.read_text())["score"]  # shipped recipes may change


def test_a_kept_recipe_depends_on_no_other_file_or_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {"family": "resnet18_small", "C": {"step": 8, "high": 32}, "L": {"step": 1, "high": 2}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    kept = yaml.safe_load(SearchRecipe.load({"space": "own.yaml", "training": "small/digits", "budget": "1M"}).dump())
    assert kept["space"] == own
    table(tmp_path, "elsewhere")
    assert yaml.safe_load(SearchRecipe.load({"table": "elsewhere.json"}).dump())["score"]["file"] == str(
        tmp_path / "elsewhere.json"
    )


def test_options_replace_single_settings_of_the_training(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("{space: mnv2_small, training: {base: small/digits, input_size: 8}}")
    recipe = SearchRecipe.load(path, {"training": {"epochs": 2}}).make_evaluator().load()
    assert (recipe.epochs, recipe.input_size, recipe.data) == (2, 8, "digits")
    path.write_text("{space: mnv2_small, training: small/digits}")
    assert SearchRecipe.load(path, {"training": {"epochs": 2}}).make_evaluator().load().epochs == 2


def test_a_report_in_another_process_knows_the_codes_of_a_table(tmp_path, capsys):
    folder = str(tmp_path / "study")
    options = ["--rounds", "1", "--batch", "4", "--folder", folder]
    assert main(["search", "--table", table(tmp_path, "apart"), *options]) == 0
    command = [sys.executable, "-m", "autobss_search", "report", folder]
    assert "answer: table_apart{" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_space_is_counted_as_the_networks_that_are_trained():
    training = {"base": "small/digits", "input_size": 8}
    space = SearchRecipe.load({"space": "resnet18_small", "training": training}).make_space()
    assert space.constraints[0].function.counted.setting == Setting(8, 1, 10)
    own = {
        "family": "resnet18_small",
        "C": {"step": 8, "high": 32},
        "L": {"step": 1, "high": 2},
        "budget": {"macs": "1M"},
    }
    search = {"space": own, "training": "small/digits"}
    assert SearchRecipe.load(search).make_space().constraints[0].upper == 1_000_000
    assert SearchRecipe.load(search, {"budget": "2M"}).make_space().constraints[0].upper == 2_000_000


def test_budgets():
    assert parse_budget("10M") == parse_budget("macs=10M") == {"macs": 10_000_000}
    assert parse_budget("macs=1.5B, params=3M") == {"macs": 1_500_000_000, "params": 3_000_000}
    assert parse_budget({"params": 5}) == {"params": 5}
    assert parse_budget(7) == {"macs": 7}
    assert parse_budget("macs=9M..10M,params=1K..") == {"macs": [9_000_000, 10_000_000], "params": [1000, None]}
    for again in ({"macs": 7}, {"macs": [5, 7]}, {"macs": [5, None]}):
        assert parse_budget(again) == again
    assert parse_budget({"macs": [None, "7K"]}) == parse_budget({"macs": "..7K"}) == {"macs": 7000}
    for wrong in ("macs=..", "macs=many", {"macs": [1, 2, 3]}, ["macs"]):
        with pytest.raises(SpaceError, match="expected a"):
            parse_budget(wrong)


def test_plots_need_scores(tmp_path):
    with pytest.raises(ValueError, match="no trial has a score yet"):
        plot_history([], tmp_path / "h.png")
    with pytest.raises(ValueError, match="at least 8 trials with a score, got 0"):
        plot_refining(None, [], tmp_path / "r.png")


def test_of_many_rounds_the_last_are_shown(tmp_path, capsys):
    command = ["search", "--table", table(tmp_path, "many"), "--searcher", "random", "--rounds", "23", "--batch", "2"]
    assert main([*command, "--folder", str(tmp_path / "s")]) == 0
    out = capsys.readouterr().out
    assert "and 3 earlier rounds; " in out
    shown = [int(line.split()[1]) for line in out.splitlines() if line.startswith("│ ") and line.split()[1].isdigit()]
    assert shown == list(range(4, 24))


def test_stages_are_counted_as_those_of_the_trained_networks(tmp_path):
    settings = {"space": "resnet18_small", "training": {"base": "small/digits", "input_size": 8}}
    assert SearchRecipe.load(settings).make_evaluator().setting == Setting(8, 1, 10)
    assert SearchRecipe.load({"table": table(tmp_path, "plain")}).make_evaluator().setting is None
