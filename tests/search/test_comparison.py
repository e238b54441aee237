"""Studies beside each other: what is compared, what is told, and the page in a real browser."""

import html
import shutil
from statistics import fmean, stdev

import numpy as np
import pytest
from test_search_cli import table

from autobss_search import AutoBSS, Constraint, RandomSearch, Space
from autobss_search.command.cli import main
from autobss_search.errors import NotReadyError, StudyError
from autobss_search.reports.comparison import compare
from autobss_search.reports.comparison_html import write_comparison
from autobss_search.studies.study import Study
from pages import find, hover, own_part, show, text
from study_script import DIMENSIONS, area

NAME = "a <i>study"


def score(code, seed):
    if seed % 6 == 2:
        raise RuntimeError("<b>failed</b>")
    return sum((i + 1) * v**0.5 for i, v in enumerate(code.values)) + (seed * 7 % 5) / 10


def searched(folder, searcher=RandomSearch, upper=4000, seed=0, rounds=2, **options):
    space = Space("compared", DIMENSIONS, [Constraint("area", upper, area)])
    with Study(folder, searcher(space, seed=seed, **options), score, rounds=rounds, batch=8) as study:
        return study.run()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three searches at random and one by AutoBSS, under the same budget."""
    root = tmp_path_factory.mktemp("compared")
    for seed in range(3):
        searched(root / f"random-{seed}", seed=seed)
    searched(root / NAME, AutoBSS, n_candidates=100)
    return [*(root / f"random-{seed}" for seed in range(3)), root / NAME]


def test_the_best_so_far_is_that_of_the_scores_before(folders):
    for side in compare(folders).sides:
        best, seconds = side.best_so_far
        values = [r.value for r in side.records if r.value is not None]
        assert best.tolist() == [max(values[: i + 1]) for i in range(len(values))]
        assert len(seconds) == len(values)
        assert (np.diff(seconds) >= 0).all()
        assert seconds[-1] <= side.seconds == pytest.approx(sum(r.seconds or 0 for r in side.records))
        assert side.states["failed"] == sum(r.state == "failed" for r in side.records) > 0


def test_what_is_to_be_minimized_is_best_where_it_is_lowest(tmp_path):
    for seed in range(2):
        searched(tmp_path / str(seed), seed=seed, direction="minimize")
    for side in compare([tmp_path / "0", tmp_path / "1"]).sides:
        assert side.best_so_far[0][-1] == side.best.value == min(r.value for r in side.records if r.value is not None)


def test_studies_of_one_recipe_are_a_group_with_its_spread(folders):
    comparison = compare(folders)
    assert [len(group.sides) for group in comparison.groups] == [3, 1]
    assert [group.name for group in comparison.groups] == ["RandomSearch", NAME]
    spread, alone = (group.spread() for group in comparison.groups)
    best = [side.best.value for side in comparison.sides[:3]]
    assert spread["best score"] == pytest.approx((fmean(best), stdev(best)))
    answers = [fmean(r.value for r in side.found) for side in comparison.sides[:3]]
    assert spread["answer's score"] == pytest.approx((fmean(answers), stdev(answers)))
    assert alone == {}


def test_what_differs_is_named_with_whose_it_is(folders, tmp_path):
    assert compare(folders[:3]).differences == {}
    assert compare(folders).differences == {
        "searcher.searcher": {"RandomSearch": ["random-0", "random-1", "random-2"], "AutoBSS": [NAME]}
    }
    assert compare(folders).notes == []
    searched(tmp_path / "larger", upper=5000, rounds=1)
    comparison = compare([folders[0], tmp_path / "larger"])
    assert comparison.differences["space.constraints.area.upper"] == {"4000": ["random-0"], "5000": ["larger"]}
    assert comparison.differences["trials"] == {"16": ["random-0"], "8": ["larger"]}
    assert [note.partition(":")[0] for note in comparison.notes] == [
        "The studies have different spaces or budgets",
        "The studies have different numbers of trials",
    ]
    assert len(comparison.groups) == 2


def test_settings_that_only_some_have_are_named_where_nothing_else_tells_them_apart(folders, tmp_path):
    space = Space("compared", DIMENSIONS, [Constraint("area", 4000, area, lower=100)])
    with Study(tmp_path / "bounded", RandomSearch(space), score, rounds=2, batch=8, confirm=3) as study:
        study.run()
    assert compare([folders[0], tmp_path / "bounded"]).differences == {
        "space.constraints.area.lower": {"none": ["random-0"], "100": ["bounded"]},
        "confirm": {"0": ["random-0"], "3": ["bounded"]},
    }


def test_scores_of_other_kinds_and_studies_that_go_on_are_noted(folders, tmp_path):
    assert main(["search", "--table", table(tmp_path, "other"), "--rounds", "2", "--folder", str(tmp_path / "t")]) == 0
    space = Space("compared", DIMENSIONS, [Constraint("area", 4000, area)])
    with Study(tmp_path / "open", RandomSearch(space), score, rounds=2, batch=8):
        pass
    comparison = compare([folders[0], tmp_path / "t", tmp_path / "open"])
    assert comparison.notes[0].startswith("The studies score differently")
    assert comparison.notes[-1] == "Not finished: open has 16 trials to go."
    unscored = comparison.sides[2]
    assert (unscored.best, unscored.answer, unscored.answers_score, len(unscored.best_so_far[0])) == (
        None,
        None,
        None,
        0,
    )
    assert comparison.costs == ["area", "macs"]


def test_studies_that_cannot_be_compared_are_refused(folders, tmp_path):
    with pytest.raises(ValueError, match="random-0: is given twice"):
        compare([folders[0], folders[0].parent / "." / folders[0].name])
    searched(tmp_path / "low", direction="minimize")
    with pytest.raises(StudyError, match="random-0 would maximize its score, low would minimize it"):
        compare([folders[0], tmp_path / "low"])
    with pytest.raises(NotReadyError, match="there is no study here"):
        compare([folders[0], tmp_path / "nothing"])


def test_studies_of_the_same_name_are_called_by_their_paths(folders, tmp_path):
    shutil.copytree(folders[0], tmp_path / "random-0")
    names = [side.name for side in compare([folders[0], tmp_path / "random-0"]).sides]
    assert names == [str(folders[0]), str(tmp_path / "random-0")]


def test_the_command_prints_the_studies_their_answers_and_what_differs(folders, capsys):
    assert main(["report", *map(str, folders)]) == 0
    out = capsys.readouterr().out
    comparison = compare(folders)
    for side in comparison.sides:
        row = next(line for line in out.splitlines() if side.name in line and str(side.answer) in line)
        assert f"{side.answers_score:.6g}" in row
        assert f"{side.answers_costs['area']:,.0f}" in row
        assert f"{side.best.value:.6g}" in out
    mean, deviation = comparison.groups[0].spread()["best score"]
    assert f"{mean:.6g} ± {deviation:.2g}" in out
    assert "searcher.searcher" in out
    assert "area up to 4,000" in out


@pytest.mark.parametrize("option", ["--top 3", "--csv x.csv", "--json x", "--plots p", "--export x.onnx", "--trial 1"])
def test_what_is_of_one_study_is_refused_for_several(folders, option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(folders[0]), str(folders[1]), *option.split()]) == 2
    assert f"{option.split()[0]}: is of one study; got 2 folders" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_is_told_before_the_studies_are_read(folders, tmp_path, capsys):
    assert main(["report", str(folders[0]), str(tmp_path), "--html", str(tmp_path / "no" / "c.html")]) == 1
    assert "c.html: the folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "comparison.html"
    assert main(["report", *map(str, folders), "--html", str(path)]) == 0
    return path


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_draws_every_study_without_errors_and_without_a_request(browser, folders, page, width):
    show(browser, page, width)
    assert text(browser, "h1") == "4 studies compared"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    lines = "return document.getElementById(arguments[0]).data.filter(t => t.line.width !== 0).map(t => t.name)"
    names = ["random-0", "random-1", "random-2", "RandomSearch", html.escape(NAME)]
    assert browser.execute_script(lines, "scores") == names
    drawn = find(browser, "#scores .scatterlayer .js-line")
    assert len(drawn) == 5 + 2  # and the edges of the range
    assert all(line.get_attribute("d") for line in drawn)
    assert len(find(browser, "#scores .scatterlayer .js-fill")) == 1
    assert len(find(browser, "#cost .scatterlayer .trace")) == 2 * len(folders)
    assert browser.get_log("browser") == []
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [url for url in requests if not url.startswith("data:")] == []


def test_the_pages_tables_say_what_was_found(browser, folders, page):
    show(browser, page)
    sides = compare(folders).sides
    assert [row.text for row in find(browser, "#answers tbody code")] == [str(side.answer) for side in sides]
    assert [row.text for row in find(browser, "#studies tbody td:first-child")] == [side.name for side in sides]
    assert len(find(browser, "#seeds tbody tr")) == 1
    assert "RandomSearch random-0, random-1, random-2" in " ".join(text(browser, "#differences").split())
    assert find(browser, "td i, h1 i, dd i") == []
    shown = hover(browser, "#cost .scatterlayer .trace:nth-child(1) .points path:nth-child(1)")
    assert "compared{" in shown
    assert "area" in shown


def test_time_is_drawn_where_scoring_takes_some(folders, tmp_path, monkeypatch):
    comparison = compare(folders)
    write_comparison(tmp_path / "quick.html", comparison)
    assert 'id="seconds"' not in own_part(tmp_path / "quick.html")
    monkeypatch.setattr(type(comparison.sides[0]), "seconds", 5.0)
    write_comparison(tmp_path / "slow.html", comparison)
    assert 'id="seconds"' in own_part(tmp_path / "slow.html")


def test_studies_without_scores_or_costs_have_a_page(browser, tmp_path):
    space = Space("compared", DIMENSIONS, [])
    for name in ("one", "two"):
        with Study(tmp_path / name, RandomSearch(space), score, rounds=2, batch=8):
            pass
    write_comparison(tmp_path / "c.html", compare([tmp_path / "one", tmp_path / "two"]))
    show(browser, tmp_path / "c.html")
    for line in ("No trial has a score yet.", "No study has an answer yet.", "There are no costs, or no scores yet."):
        assert line in text(browser, "body")
    assert browser.get_log("browser") == []
