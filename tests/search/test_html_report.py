"""The HTML report: its parts, and what a reader does with it in a real browser."""

import json
import re
import socket
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from test_search_cli import table

from autobss_search import AutoBSS, Constraint, Space, get_space
from autobss_search.command.cli import main
from autobss_search.reports.html import write_html
from autobss_search.reports.plots import refining_pairs
from autobss_search.searchers import candidates
from autobss_search.searchers.front import pareto_front
from autobss_search.studies.journal import Entry, here, read_journal
from autobss_search.studies.reading import read_records
from autobss_search.studies.records import Record
from autobss_search.studies.study import Study
from autobss_zoo import Setting
from pages import find, hover, own_part, point, points, show, text
from study_script import DIMENSIONS, area

ERROR = '<script>alert(1)</script> & "no" <b>memory</b>'
NAME = "a <i>study</i>"
WIDTHS = "sum <b>of</b> widths"


def searcher(family="reported"):
    costs = [Constraint("area", 4000, area), Constraint(WIDTHS, 40, lambda codes: codes.sum(axis=1))]
    return AutoBSS(Space(family, DIMENSIONS, costs), n_candidates=100)


def score(code, seed):
    if seed % 6 == 2:
        raise RuntimeError(ERROR)
    return sum((i + 1) * v**0.5 for i, v in enumerate(code.values)) + (seed * 7 % 5) / 10


def records_of(searcher, n, state="complete"):
    rows = candidates.uniform(searcher.space, n, np.random.default_rng(0))
    costs = searcher.space.costs(rows)
    done = state == "complete"
    return [
        Record(
            number=i,
            code=code,
            round=i // 16,
            source="searcher",
            seed=i,
            state=state,
            value=score(code, 0) + i % 7 if done else None,
            seconds=1.5 if done else None,
            costs={name: cost[i].item() for name, cost in costs.items()},
            errors=(ERROR,) if state == "failed" else (),
        )
        for i, code in enumerate(searcher.space.decode(rows))
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study's records, and its page."""
    folder = tmp_path_factory.mktemp("html")
    with Study(folder / "study", searcher(), score, rounds=3, batch=8) as study:
        answer = study.run()
        records = study.records
    failed = [r for r in records if r.state == "failed"]
    assert failed
    journal = [
        Entry(1.7e9, "driver", "began", where="host:1"),
        *(Entry(1.7e9 + i, "fault", ERROR, r.number) for i, r in enumerate(failed)),
        Entry(1.7e9 + 99, "fault", "a worker was lost"),
        Entry(1.7e9 + 100, "end", "finished"),
    ]
    path = folder / "page.html"
    write_html(path, NAME, searcher(), records, journal, answer, 24, None)
    return records, path


coordinates = st.integers(-4, 4).map(float)


@given(
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=30), st.sampled_from(["maximize", "minimize"])
)
def test_the_pareto_front_is_that_of_comparing_all_pairs(points, direction):
    cost, score = np.array(points).T
    gain = score if direction == "maximize" else -score
    beaten = [
        any(
            cost[j] <= cost[i] and gain[j] >= gain[i] and (cost[j], gain[j]) != (cost[i], gain[i])
            for j in range(len(cost))
        )
        for i in range(len(cost))
    ]
    assert pareto_front(cost, score, direction).tolist() == [not b for b in beaten]


def test_pairs_of_many_codes_are_few_and_always_the_same():
    one, two = (refining_pairs(searcher(), records_of(searcher(), 1000)) for _ in range(2))
    assert len(one.gap) <= 300 * 299 / 2
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("records", "line"),
    [
        ([], "No round has begun yet."),
        (records_of(searcher(), 4, "waiting"), "No trial has ended yet."),
        (records_of(searcher(), 4, "failed"), "Trials with faults: 4"),
        (records_of(searcher(), 7), "Drawn from 8 scores on; there are 7."),
    ],
    ids=["begun", "waiting", "failed", "few"],
)
def test_studies_with_few_scores_or_none(tmp_path, browser, records, line):
    path = tmp_path / "r.html"
    write_html(path, NAME, searcher(), records, [], None, 24, None)
    assert line in own_part(path)
    show(browser, path)
    assert browser.get_log("browser") == []
    assert len(find(browser, "div.plot .main-svg")) >= len(find(browser, "div.plot"))


def test_a_study_is_reported_while_its_driver_runs(tmp_path):
    folder, path, lines = tmp_path / "study", tmp_path / "r.html", []

    def report(_event):
        write_html(path, NAME, searcher(), read_records(folder), read_journal(folder), None, 16, None)
        lines.append(re.search("<dt>Trials</dt><dd>(.*?)</dd>.*<dt>Driver</dt><dd>(.*?)</dd>", own_part(path)).groups())

    with Study(folder, searcher(), score, rounds=2, batch=8, on_event=report) as study:
        study.run()
    report("afterwards")
    assert all(driver.startswith("running since ") for _, driver in lines[:-1])
    assert lines[-1][1].startswith("finished, ")
    assert lines[1][0] != lines[-1][0]
    assert lines[-1][0].endswith("0 waiting of 16")


def test_a_driver_that_was_killed_is_told_from_one_that_runs(tmp_path):
    with subprocess.Popen(["sleep", "0"]) as gone:
        pass
    for where, state in ((here(), "running since "), (f"{socket.gethostname()}:{gone.pid}", "killed; began ")):
        journal = [Entry(1.7e9, "driver", "began", where=where)]
        write_html(tmp_path / "r.html", NAME, searcher(), [], journal, None, 16, None)
        assert f"<dd>{state}" in own_part(tmp_path / "r.html")


def test_the_page_refers_to_nothing_outside(finished):
    own = own_part(finished[1])
    assert not re.search(r"https?:|//\w|\bsrc=|\bhref=|@import|url\(", own)
    assert "plotly.js" in finished[1].read_text(encoding="utf-8")


def test_a_report_whose_folder_is_missing_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder"):
        write_html(tmp_path / "no" / "r.html", NAME, searcher(), [], [], None, 24, None)


def test_every_plot_is_drawn_without_errors_and_without_a_request(browser, finished):
    records, path = finished
    show(browser, path)
    scored = sum(r.value is not None for r in records)
    assert points(browser, "history", 1) == points(browser, "cost", 1) == scored
    assert points(browser, "cost", 2) >= 1
    assert points(browser, "distance", 1) == points(browser, "refined", 1) == scored * (scored - 1) / 2
    assert len(find(browser, "#allocation .barlayer .point")) >= 3 * len(DIMENSIONS)
    assert browser.get_log("browser") == []
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [url for url in requests if not url.startswith("data:")] == []


def test_hovering_shows_the_code_and_its_figures(browser, finished):
    records, path = finished
    show(browser, path)
    first = next(r for r in records if r.value is not None)
    shown = hover(browser, f"{point('history', 1)}:nth-child(1)")
    for part in (
        str(first.code),
        f"trial {first.number}",
        "round 1",
        "score ",
        f"area {first.costs['area']:,}",
        WIDTHS,
    ):
        assert part in shown
    assert "reported{" in hover(browser, f"{point('cost', 1)}:nth-child(3)")
    assert str(max(records, key=lambda r: r.value or 0).code) in hover(browser, "#allocation .barlayer .point path")


def test_texts_of_users_and_errors_are_shown_as_they_are(browser, finished):
    show(browser, finished[1])
    assert text(browser, "h1") == NAME
    assert ERROR in text(browser, "#trials")
    assert ERROR in text(browser, "#faults")
    assert WIDTHS in text(browser, "#best thead")
    assert find(browser, "td b, h1 i, dd b") == []
    assert "<script>alert(1)</script>" in hover(browser, "#history .xy2 .points path")


def test_the_tables_have_a_row_for_each_round_best_code_and_fault(browser, finished):
    records, path = finished
    show(browser, path)
    failed = [r for r in records if r.state == "failed"]
    rows = {id: len(find(browser, f"#{id} tbody tr")) for id in ("rounds", "best", "trials", "faults")}
    scored = sum(r.value is not None for r in records)
    assert rows == {
        "rounds": 3,
        "best": min(20, scored),
        "trials": sum(bool(r.errors) for r in records),
        "faults": len(failed) + 1,
    }
    best = max((r for r in records if r.value is not None), key=lambda r: r.value)
    assert text(browser, "#best tbody tr code") == str(best.code)
    assert "finished" in text(browser, "dl")
    assert f"{scored} scored, {len(failed)} failed, 0 waiting of 24" in text(browser, "dl")


def test_a_click_in_the_legend_hides_a_trace(browser, finished):
    show(browser, finished[1])
    assert points(browser, "history", 1)
    toggle = browser.find_element(By.CSS_SELECTOR, "#history .legend .traces .legendtoggle")
    ActionChains(browser).move_to_element(toggle).click().perform()
    state = "return document.getElementById('history').data[0].visible"
    assert WebDriverWait(browser, 5).until(lambda _: browser.execute_script(state)) == "legendonly"


def test_a_button_for_each_cost_changes_the_axis_the_points_and_the_budget(browser, finished):
    records, path = finished
    show(browser, path)
    state = """const p = document.getElementById('cost');
        return [p.data[0].x, p.layout.shapes[0].x0, p._fullLayout.xaxis.title.text, p._fullLayout.xaxis.range]"""
    scored = [r for r in records if r.value is not None]
    first = browser.execute_script(state)
    assert first[:2] == [[r.costs["area"] for r in scored], 4000]
    for place, name, upper in ((1, WIDTHS, 40), (0, "area", 4000)):
        buttons = find(browser, "#cost .updatemenu-button")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", buttons[place])
        ActionChains(browser).move_to_element(buttons[place]).click().perform()
        x, bound, _, shown = WebDriverWait(browser, 5).until(
            lambda _, upper=upper: (now := browser.execute_script(state))[1] == upper and now
        )
        assert (x, bound) == ([r.costs[name] for r in scored], upper)
        assert shown[0] < min(x) < max(x) < shown[1]
        assert browser.execute_script("return document.querySelector('#cost .xtitle').textContent") == name
    assert browser.execute_script(state)[3] == first[3]


@pytest.mark.parametrize("width", [320, 400, 1600])
def test_no_window_scrolls_sideways_and_plots_fit_it(browser, finished, width):
    show(browser, finished[1], width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for plot in find(browser, "div.plot .svg-container"):
        assert plot.rect["width"] <= width
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 700, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    fits = "return [...document.querySelectorAll('div.plot')].every(p => p._fullLayout.width === p.clientWidth)"
    assert WebDriverWait(browser, 5).until(lambda _: browser.execute_script(fits))


def test_text_is_read_on_light_and_on_dark(browser, finished):
    inks = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        show(browser, finished[1])
        style = "getComputedStyle(document.querySelector(arguments[0]))"
        inks[scheme] = [
            browser.execute_script(f"return {style}.fill", "#history .xtitle"),
            browser.execute_script(f"return {style}.backgroundColor", "body"),
        ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    lightness = {k: [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in v] for k, v in inks.items()}
    assert lightness["light"][0] + 300 < lightness["light"][1]
    assert lightness["dark"][1] + 300 < lightness["dark"][0]


def test_networks_are_compared_by_stage_with_the_hand_made_one(browser, tmp_path):
    one = AutoBSS(get_space("resnet18_small", macs="400K", setting=Setting(8, num_classes=10)), n_candidates=100)
    with Study(tmp_path / "study", one, lambda code, seed: float(sum(code.channels)), rounds=1, batch=4) as study:
        answer, records = study.run(), study.records
    path = tmp_path / "r.html"
    write_html(path, NAME, one, records, [], answer, 4, Setting(8, num_classes=10))
    show(browser, path)
    figure = json.loads(re.search(r'id="allocation".*?json">(.*?)</script>', own_part(path)).group(1))
    names = [trace["name"] for trace in figure["data"] if trace["showlegend"]]
    assert names[-1] == "hand-made"
    assert sum("(answer)" in name or name == "answer" for name in names) == 1
    best = max(records, key=lambda r: (r.value, -r.number))
    macs, channels, blocks = (trace["y"] for trace in figure["data"][:3])
    assert sum(macs) == best.costs["macs"]
    assert tuple(c for c in channels if c) == best.code.channels
    assert tuple(b for b in blocks if b) == best.code.layers
    ActionChains(browser).move_to_element(find(browser, "#allocation .legendtoggle")[0]).click().perform()
    hidden = "return document.getElementById('allocation').data.filter(t => t.visible === 'legendonly').length"
    assert WebDriverWait(browser, 5).until(lambda _: browser.execute_script(hidden)) == 3
    assert browser.get_log("browser") == []


def test_the_command_reports_a_study_of_a_table(browser, tmp_path, capsys):
    folder, path = tmp_path / "of-a-table", tmp_path / "r.html"
    options = ["--rounds", "2", "--batch", "8", "--searcher", "random"]
    assert main(["search", "--table", table(tmp_path, "html"), *options, "--folder", str(folder)]) == 0
    assert main(["report", str(folder), "--html", str(path)]) == 0
    answer = re.search("answer: (.*)", capsys.readouterr().out).group(1)
    show(browser, path)
    assert text(browser, "h1") == "of-a-table"
    assert answer in text(browser, "dl")
    assert "Nothing went wrong." in text(browser, "body")
    assert points(browser, "history", 1) == 16
    ticks = find(browser, "#allocation .xtick")
    assert [tick.text for tick in ticks] == ["W1", "W2", "W3", "W4"]
    assert find(browser, "#refined .points path")
    assert browser.get_log("browser") == []
