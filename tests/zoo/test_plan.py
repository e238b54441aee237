"""The plan, and that every output of a code is read off it: also with a width a layer, and with 70 elements."""

import json
import re

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from test_cost import onnx_cost

from autobss_search import AutoBSS, Session, load_space
from autobss_search.command.cli import main
from autobss_search.conformance import check_space
from autobss_search.reports.html_plots import allocation
from autobss_search.studies.reading import read_records
from autobss_zoo import Code, Setting, create_model, from_pretrained, register_family, save_pretrained
from autobss_zoo.cost import count_network
from autobss_zoo.errors import CodeError, UnknownNameError
from autobss_zoo.families import FAMILIES, WithResolution, get_family
from autobss_zoo.plots import plot_allocation
from conftest import exports
from own_families import CHAIN, WIDE, WideMobileNet

register_family(WIDE)
register_family(CHAIN)

# BCNet's searched networks with 25 widths, from the authors' files; MACs and parameters were counted twice elsewhere.
BCNET = {
    "30 14 72 22 100 129 32 105 86 182 54 384 153 384 384 72 374 518 518 152 960 816 960 256 1216": (
        218622434,
        2980319,
    ),
    "9 4 28 9 28 57 16 38 38 57 25 153 115 115 115 38 115 115 288 64 480 384 768 128 1152": (50936196, 1680347),
    "25 11 81 16 108 100 32 134 105 172 51 268 230 326 307 67 374 576 547 160 912 960 960 272 1280": (
        207572107,
        3141185,
    ),
}
SEARCHED, *_ = (Code("wide_mnv2", tuple(map(int, widths.split()))) for widths in BCNET)
LONG = Code("chain", tuple(1000 + i for i in range(70)))


def test_families_are_registered_explicitly_and_once():
    before = set(FAMILIES)
    other = WideMobileNet("never_registered", "mnv2", WIDE.original)
    assert set(FAMILIES) == before
    with pytest.raises(UnknownNameError, match="unknown family 'never_registered'"):
        Code("never_registered", other.original)
    with pytest.raises(UnknownNameError, match="wide_mnv2 is another family already"):
        register_family(WideMobileNet("wide_mnv2", "mnv2", (1,) * 25))
    register_family(WideMobileNet("wide_mnv2", "mnv2", WIDE.original))  # the same again is no mistake
    assert isinstance(get_family("wide_mnv2_r"), WithResolution)


@pytest.mark.parametrize("widths", BCNET)
def test_25_widths_have_the_counted_figures(widths):
    code = Code("wide_mnv2", tuple(map(int, widths.split())))
    cost = WIDE.cost(code)
    assert (cost.macs, cost.params) == BCNET[widths]
    assert count_network(create_model(code), Setting(224)) == cost


@exports
def test_random_25_widths_are_counted_alike_three_times():
    rng = np.random.default_rng(0)
    codes = rng.integers(1, 30, (4, 25))
    together = WIDE.cost(codes, Setting(40, num_classes=3))
    for i, row in enumerate(codes.tolist()):
        model = create_model(Code("wide_mnv2", tuple(row)), num_classes=3)
        fvcore = count_network(model, Setting(40))
        assert (together.macs[i], together.params[i], together.activations[i]) == tuple(vars(fvcore).values())
        assert i or onnx_cost(model, Setting(40)) == fvcore


def table_rows(text):
    """The rows of a printed table by their first word, continued lines joined."""
    rows, name = {}, ""
    for line in text.splitlines():
        words = line.split()
        if words and re.fullmatch(r"stem|s\d|head|total", words[0]):
            name = words.pop(0)
        rows.setdefault(name, []).extend(words)
    return rows


def test_info_shows_25_widths_in_their_stages(capsys):
    assert main(["info", str(SEARCHED)]) == 0
    rows = table_rows(capsys.readouterr().out)
    widths = SEARCHED.as_dict()
    for stage in WIDE.plan(SEARCHED).stages:
        assert rows[stage.name][: len(stage.elements)] == [str(widths[name]) for name in stage.elements]
    assert "218,622,434" in rows["total"]
    assert main(["info", str(SEARCHED), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["elements"] == widths
    assert sum(stage["macs"] for stage in facts["stages"].values()) == facts["macs"] == 218622434


def test_compare_and_its_plot_show_25_widths(capsys, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: drawn.append(self) or path.write_bytes(b""))
    other = Code("wide_mnv2", WIDE.original)
    plot = str(tmp_path / "a.png")
    assert main(["compare", str(SEARCHED), str(other), "--plot", plot]) == 0
    out = capsys.readouterr().out
    assert "72 22 100" in out
    assert "96 24 144" in out
    macs, widths = drawn[0].axes
    assert [bar.get_height() for bar in widths.containers[0]] == list(SEARCHED.values)
    assert [label.get_text() for label in widths.get_xticklabels()] == list(SEARCHED.as_dict())
    assert sum(bar.get_height() for bar in macs.containers[0]) == pytest.approx(218.622434)


def test_the_card_and_the_page_show_25_widths(tmp_path):
    model = create_model(SEARCHED, num_classes=3)
    save_pretrained(model, tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "| stage | width | MACs | parameters |" in card
    for stage in WIDE.stage_rows(SEARCHED, Setting(224, num_classes=3)):
        values = " ".join(map(str, stage.values["width"]))
        assert f"| {stage.name} | {values} | {stage.cost.macs:,} | {stage.cost.params:,} |" in card
    again = from_pretrained(tmp_path)
    assert again.about.code == SEARCHED
    figure = allocation(WIDE, {"best": SEARCHED}, None)
    macs, widths = figure["data"]
    assert (widths["x"], widths["y"]) == (list(SEARCHED.as_dict()), list(SEARCHED.values))
    assert sum(macs["y"]) == 218622434


def test_25_widths_are_searched():
    rules = {"W": {"step": 8, "high": [max(8, w // 8 * 8) for w in WIDE.original]}}
    space = load_space({"family": "wide_mnv2", **rules, "budget": {"macs": "200M..215M", "params": "4M"}})
    check_space(space, n=30)
    session = Session(AutoBSS(space, n_candidates=200))
    for _ in range(2):
        for code in session.ask(16):
            assert 200e6 <= WIDE.cost(code).macs <= 215e6
            session.tell(code, float(sum(code.values)))
    assert len(session.observations) == 32


def narrow(monkeypatch):
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)


def test_codes_of_70_elements_fit_a_narrow_terminal(monkeypatch, capsys, tmp_path):
    narrow(monkeypatch)
    assert main(["info", str(LONG)]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    code, table = out.split("\n\n", 1)
    assert code == str(LONG)
    assert max(map(len, table.splitlines())) <= 110  # the sentences below the table are not broken
    rows = table_rows(table.split("Of one")[0])
    for number in range(7):
        shown = [word for word in rows[f"s{number}"] if re.fullmatch(r"1\d\d\d", word)]
        assert shown == [str(v) for v in LONG.values[10 * number : 10 * number + 10]]
    assert main(["compare", str(LONG), str(LONG), "--plot", str(tmp_path / "a.png")]) == 0
    table = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).split("\n")
    assert max(len(line) for line in table if not line.startswith(("A:", "B:", "wrote"))) <= 80
    plot_allocation([("a", LONG), ("b", LONG)], tmp_path / "b.svg")


def test_errors_of_codes_of_70_elements_are_a_line(capsys):
    with pytest.raises(CodeError, match=r"expected 70 elements \(s0.c0..s6.c9\), got 69: no s6.c9; a valid code is"):
        Code("chain", LONG[:-1])
    assert main(["info", str(LONG).replace("1042", "0")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "element 43 (s4.c2): expected an integer from 1 to 4096, got 0" in line


def test_a_study_of_codes_of_70_elements_is_reported(monkeypatch, capsys, tmp_path):
    narrow(monkeypatch)
    dimensions = {f"s{i // 10}.c{i % 10}": [8, 16, 24] for i in range(70)}
    training = {"base": "small/digits", "input_size": 8, "epochs": 2, "holdout": 0.2, "train_images": 100}
    recipe = {"space": {"family": "chain", "W": {"choices": [8, 16, 24]}}, "training": training, "budget": "1M"}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**recipe, "rounds": 1, "batch": 2, "searcher": "random"}))
    study = str(tmp_path / "study")
    assert main(["search", str(tmp_path / "r.yaml"), "--folder", study]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    tables, answer = out.split("answer: ")
    assert max(map(len, tables.splitlines())) <= 80
    assert len(read_records(tmp_path / "study")) == 2
    assert Code.parse(answer.splitlines()[0]).as_dict().keys() == dimensions.keys()
    files = ["--csv", f"{study}/t.csv", "--plots", f"{study}/plots", "--html", f"{study}/r.html"]
    assert main(["report", study, *files]) == 0
    columns = (tmp_path / "study" / "t.csv").read_text().splitlines()[0].split(",")
    assert set(dimensions) <= set(columns)


def test_plans_need_no_network():
    with torch.device("meta"):
        assert WIDE.plan(SEARCHED).stages[0].blocks[0].side_out == 112
