"""Recipes of searches and the spaces and budgets in them: what is combined, where paths lead, what is refused."""

import time

import pytest

from autobss_search import Constraint, Dimension, Space, get_space, load_space
from autobss_search.command.cli import main
from autobss_search.errors import SpaceError
from autobss_search.spaces import parse_budget
from autobss_search.studies.recipe import SearchRecipe
from autobss_zoo.errors import RecipeError
from autobss_zoo.yaml_text import parse_yaml, write_yaml

SPACE = {"family": "resnet18_small", "C": {"step": 8, "high": 32}, "L": {"step": 1, "high": 2}}
BOUNDED = {**SPACE, "budget": {"macs": "1M", "params": "200K"}}
SEARCH = {"space": BOUNDED, "training": "small/digits"}


def bounds(space):
    return {c.name: c.upper for c in space.constraints}


def test_a_bound_replaces_that_of_its_cost_and_no_other(tmp_path):
    assert bounds(load_space(BOUNDED, {"macs": "2M"})) == {"macs": 2_000_000, "params": 200_000}
    recipe = SearchRecipe.load(SEARCH, {"budget": "activations=90K"})
    expected = {"macs": 1_000_000, "params": 200_000, "activations": 90_000}
    assert bounds(recipe.make_space()) == expected
    assert bounds(SearchRecipe.load(parse_yaml(recipe.dump(), "kept")).make_space()) == expected
    (tmp_path / "base.yaml").write_text(write_yaml({**SEARCH, "budget": "macs=3M,params=100K"}))
    (tmp_path / "own.yaml").write_text("base: base.yaml\nbudget: {params: 150K}\n")
    recipe = SearchRecipe.load(tmp_path / "own.yaml", {"budget": "2M"})
    assert recipe.budget == {"macs": 2_000_000, "params": 150_000}
    assert bounds(get_space("efficientnet_b1_searched", params="6M")) == {"macs": 686802832, "params": 6_000_000}
    base = load_space({"base": "efficientnet_b1_searched", "budget": {"params": "6M"}})
    assert bounds(base) == {"macs": 686802832, "params": 6_000_000}


def test_paths_in_a_search_are_relative_to_its_file(tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    (own / "space.yaml").write_text(write_yaml(SPACE))
    (own / "train.yaml").write_text("base: small/digits\nepochs: 3\n")
    (own / "search.yaml").write_text("space: space.yaml\ntraining: {base: train.yaml}\nbudget: 1M\n")
    (own / "short.yaml").write_text("base: search.yaml\ntraining: train.yaml\n")
    (own / "table.yaml").write_text("table: scores.json\n")
    monkeypatch.chdir(tmp_path)
    for name in ("search", "short"):
        recipe = SearchRecipe.load(own / f"{name}.yaml")
        assert recipe.make_evaluator().load().epochs == 3
        assert recipe.make_space().size == 4**4 * 2**4
    assert SearchRecipe.load("own/table.yaml").score["file"] == str(own / "scores.json")
    given = SearchRecipe.load("own/search.yaml", {"space": "own/space.yaml", "training": {"base": "own/train.yaml"}})
    assert given.make_space().size == 4**4 * 2**4
    assert given.make_evaluator().load().epochs == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 10**9}, "rounds: input should be less than or equal to 100000, got 1000000000"),
        ({"batch": 1e23}, "batch: input should be less than or equal to 10000"),
        ({"batch": True}, "batch: expected a positive integer, got True"),
        ({"seed": 2**63}, "seed: input should be less than 4294967296"),
        ({"seed": "1"}, "seed: input should be a valid integer, got '1'"),
        ({"searcher": "autobs"}, "searcher: 'autobs': did you mean autobss"),
        ({"searcher": ["a"]}, "searcher: input should be a valid string"),
        ({"enqueue": "code"}, "enqueue: input should be a valid tuple"),
        ({"storage": ""}, "storage: string should have at least 1 character"),
        ({"space": ""}, "space: string should have at least 1 character"),
        ({"space": 3}, "space: input should be a valid string, got 3"),
        ({"score": [1]}, "score: expected a mapping with the key kind"),
        ({"budget": ""}, "budget: macs: expected an amount"),
        ({"budget": {"macs": ""}}, "budget: macs: expected an amount"),
        ({"budget": None}, "budget: expected a text or a mapping of costs to amounts, got None"),
        ({"epochz": 1}, "unknown key 'epochz': known: asynchronous, batch, .*, training"),
    ],
)
def test_values_of_a_search_have_limits_and_a_line(changes, message):
    with pytest.raises(RecipeError, match=f"recipe: {message}"):
        SearchRecipe.load(SEARCH, changes)


@pytest.mark.parametrize(
    "budget",
    [
        "", " ", ",", "macs=", "=5", "macs=1M,", "macs=1M,2M", "macs=1M,macs=2M", "..", "nan", "inf", "-5", "0",
        "1e400", "10Q", "\u0661\u0662M", "1_000", float("nan"), float("inf"), -1, 0, 10**4000, True, None,
        [1], {"": 5}, {3: 5},
        {"macs": [None, None]}, {"macs": ""}, {"macs": True}, {"macs": [False, 5]}, {"macs": [5, 0]},
        {"macs": [1, 2, 3]}, {"macs": {"macs": 1}}, {"macs": "x" * 10**5},
    ],
)  # fmt: skip
def test_impossible_budgets(budget):
    with pytest.raises(SpaceError, match=r"^budget: ") as caught:
        parse_budget(budget)
    assert len(str(caught.value)) < 500


def test_small_amounts_can_have_an_exponent():
    assert parse_budget({"latency": 1e-05}) == {"latency": 1e-05}
    assert parse_budget("latency=2.5e-3") == {"latency": 0.0025}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"C": {"step": 1, "high": 10**9}}, r"C\.high: expected integers from 1 to 16,384, got 1000000000"),
        ({"C": {"step": 8, "high": 20_000}}, r"C\.high: expected integers from 1 to 16,384, got 20000"),
        ({"C": {"choices": [8, 20_000]}}, "C: expected integers from 1 to 16,384, got 20000"),
        ({"C": {"step": 1, "high": 10_000}}, "C: expected 1 to 4,096 choices, got 10,000"),
        ({"C": {"step": 8, "low": 64, "high": 32}}, "C: expected 1 to 4,096 choices, got 0"),
        (
            {"C": {"powers": 10**400, "low": 8, "high": 32}},
            r"C\.powers: expected integers .* got an integer of 1,329 bits",
        ),
        ({"C": {"choices": []}}, "C2: expected different ints in ascending order"),
        ({"C": {"choices": [8, 8]}}, "C2: expected different ints in ascending order"),
        ({"C": {"choices": [16, 8]}}, "C2: expected different ints in ascending order"),
        ({"C": {"choices": "16"}}, "C: expected a list of integers, got '16'"),
        ({"C": {"choices": [True]}}, "C: expected a list of integers"),
        ({"C": 3}, "C: expected a mapping with one of these sets of keys"),
        ({"L": {"choices": [0]}}, "L: expected integers from 1 to 256, got 0"),
        ({"X": {"choices": [1]}}, "unknown key 'X': did you mean|unknown key 'X': known"),
        ({"R": {"choices": [4]}}, "R: expected integers from 8 to 4,096, got 4"),
        ({"R": None}, "R: expected a mapping with one of these"),
        ({"family": 3}, "expected a mapping with the key family"),
        ({"input_size": 100_000}, "input_size: expected at most 8,192, got 100000"),
        ({"input_size": [28, 32]}, r"input_size: expected a positive integer, got \[28, 32\]"),
        ({"num_classes": True}, "num_classes: expected a positive integer, got True"),
        ({"width": 64}, "width: is a detector's, and there is none"),
        ({"budget": {"macs": "10Q"}}, "budget: macs: expected a positive amount"),
        ({3: 4}, "expected a text as a key, got 3"),
    ],
)
def test_spaces_are_checked_at_load_and_soon(changes, message):
    start = time.thread_time()
    with pytest.raises(SpaceError, match=message):
        load_space({**SPACE, **changes})
    assert time.thread_time() - start < 2


@pytest.mark.parametrize(
    "fraction", ["0", "1/0", "0/3", "1e999999999", "2", "1/1000000000", -0.5, float("nan"), True, None]
)
def test_fractions_are_parts(fraction):
    with pytest.raises(SpaceError, match="B: expected fractions of at most 1, such as 1/4, got"):
        load_space({"base": "resnet50_small", "B": {"fractions": [fraction]}})
    assert load_space({"base": "resnet50_small", "B": {"fractions": [0.5]}}).size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Space("a{b", [Dimension("W", (1,))]), r"family: expected a word such as mine, got 'a\{b'"),
        (lambda: Space(None, [Dimension("W", (1,))]), "family: expected a word such as mine, got None"),
        (lambda: Space("a", [Dimension(f"W{i}", (1,)) for i in range(2000)]), "at most 1,000; got 2,000"),
        (lambda: Space("a", [Dimension("W", (1,))] * 2), "two dimensions are called W"),
        (lambda: Space("a", [Dimension("W", (1,))], [Constraint("c", 9, len)] * 2), "two constraints are called c"),
        (lambda: Dimension(None, (1,)), "dimension None: expected a name"),
        (lambda: Dimension("W", (1, 2**40)), "W: expected different ints"),
        (lambda: Dimension("W", (True,)), "W: expected different ints"),
        (lambda: Dimension("W", (float("inf"),)), "W: expected different ints"),
        (lambda: Dimension("W", ("1e999999999",), "V"), "W: expected different Fractions"),
        (lambda: load_space(None), "expected a file or a mapping, got None"),
        (lambda: load_space("nowhere.yaml"), "nowhere.yaml: there is no such file"),
        (
            lambda: load_space({"family": "mine", "dimensions": {"W": [1]}}, {"macs": 5}),
            "nothing is known of the costs",
        ),
    ],
)
def test_spaces_in_python_are_checked(make, message):
    with pytest.raises(SpaceError, match=message):
        make()


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--folder", ""], "--folder"), (["--folder="], "--folder"), (["--budget", " "], "--budget"),
        (["--storage="], "--storage"), (["--set", "=3"], "--set =3"), (["--set", "a..b=3"], "--set a..b=3"),
        (["--set", "rounds={1: 2}"], "--set rounds"),
    ],
)  # fmt: skip
def test_empty_words_are_refused(words, option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["search", "small/digits_search", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"autobss: error: {option}: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
