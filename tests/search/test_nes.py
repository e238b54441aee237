"""Natural evolution strategies: the gradient that they follow, budgets, elements without an order, and recipes."""

import numpy as np
import pytest

from autobss_search import Constraint, Dimension, Observation, Session, Space, get_space
from autobss_search.searchers import NES, RandomSearch
from autobss_search.searchers.nes import utilities
from autobss_search.studies.recipe import SearchRecipe
from autobss_zoo.errors import RecipeError


def toy(kinds=(), upper=1e9):
    """Six widths under a budget on their product, and elements without an order."""
    dimensions = [Dimension(f"W{i}", (8, 16, 24, 32, 48, 64, 96, 128)) for i in range(1, 7)]
    dimensions += [Dimension(f"K{i}", choices, None, False) for i, choices in enumerate(kinds, 1)]
    return Space("toy", dimensions, [Constraint("area", upper, lambda codes: codes[:, :6].prod(axis=1).astype(float))])


def accuracy(code):
    """Rises with the widths' logarithms, most with the last one's."""
    return float(np.log(code.values[:6]) @ np.arange(1, 7))


def test_utilities_weigh_ranks():
    found = utilities(np.array([3.0, 9.0, 1.0, 5.0]))
    assert found.sum() == pytest.approx(0)
    assert np.argsort(-found).tolist()[:2] == [1, 3]
    assert utilities(np.array([1.0, 1.0, 1.0])) == pytest.approx(np.zeros(3))
    assert found[1] == pytest.approx(np.log(3) / (np.log(3) + np.log(1.5)) - 0.25)


def search(searcher, rounds=12, batch=16):
    session = Session(searcher)
    for _ in range(rounds):
        for code in session.ask(batch):
            session.tell(code, accuracy(code))
    return session.best.value


def test_it_finds_better_codes_than_random_search_under_a_budget():
    for seed in range(3):
        found, random = (search(kind(toy(), seed=seed)) for kind in (NES, RandomSearch))
        assert found > random


def test_the_mean_moves_where_scores_rise():
    searcher = NES(get_space("mnv2_channels_input_depth", macs="200M"))
    space = searcher.space
    sides = [d.name for d in space.dimensions].index("R")
    codes = searcher.propose([], 0, 32)
    told = [Observation(code, float(code[sides]), 0) for code in codes]  # the larger the images, the better
    after = searcher.propose(told, 1, 32)
    assert np.mean([code[sides] for code in after]) > np.mean([code[sides] for code in codes]) + 10
    lower = NES(space, "minimize").propose(told, 1, 32)
    assert np.mean([code[sides] for code in lower]) < np.mean([code[sides] for code in codes]) - 10


def test_codes_use_the_budget_up():
    space = get_space("mnv2_channels_input", macs="150M")
    codes = NES(space).propose([], 0, 32)
    macs = space.costs(space.encode(codes))["macs"]
    assert macs.max() <= 150e6
    assert np.median(macs) > 0.93 * 150e6


def test_chances_of_choices_without_an_order_follow_the_scores():
    space = toy(kinds=[(3, 5, 7), (0, 1)])
    searcher, told = NES(space), []
    for round in range(6):
        codes = searcher.propose(told, round, 16)
        told += [Observation(code, float((code[6] == 5) + (code[7] == 0)), round) for code in codes]
    assert np.mean([o.code[6] == 5 for o in told if o.round == 5]) > 0.7
    assert np.mean([o.code[7] == 0 for o in told if o.round == 5]) > 0.7


def test_options_of_searchers_are_in_recipes():
    recipe = SearchRecipe.load({"table": "widths_plain", "searcher": "nes", "options": {"deviation": 0.25}})
    assert recipe.make_searcher().deviation == 0.25
    assert "deviation: 0.25" in recipe.dump()
    nsga2 = SearchRecipe.load({"table": "widths_plain", "searcher": "nsga2", "options": {"population": 50}})
    assert nsga2.make_searcher().population == 50
    with pytest.raises(RecipeError, match="options: 'populatoin': did you mean population"):
        SearchRecipe.load({"table": "widths_plain", "searcher": "nsga2", "options": {"populatoin": 50}})
    with pytest.raises(RecipeError, match="options: 'seed': "):
        SearchRecipe.load({"table": "widths_plain", "searcher": "paper", "options": {"seed": 50}})
    wrong = SearchRecipe.load({"table": "widths_plain", "searcher": "nes", "options": {"rate": 0}})
    with pytest.raises(RecipeError, match="options: rate: expected a positive number, got 0"):
        wrong.make_searcher()
