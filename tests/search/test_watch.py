"""The view of a running study, and the verbs `watch` and `report` on its faults, as a user types them."""

import contextlib
import fcntl
import hashlib
import io
import itertools
import json
import os
import pty
import re
import select
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from autobss_search.command.cli import main
from autobss_search.reports.watch import Facts, Watcher, clock, seconds_left, span, sparkline, view
from autobss_search.studies.journal import Entry, Journal, read_journal
from autobss_search.studies.reading import read_records
from autobss_search.studies.recipe import SearchRecipe
from autobss_search.studies.study import Study

NOW = datetime(2030, 5, 6, 12, 0, 0).timestamp()


class Slow:
    """A table's scores, each after some time; with `fails`, every fifth training fails."""

    def __init__(self, table, seconds, fails):
        self.table, self.seconds, self.fails = table, seconds, fails

    def __call__(self, code, seed):
        time.sleep(self.seconds)
        if self.fails and seed % 5 == 3:
            raise RuntimeError("[Errno 28] no space")
        return self.table.score(code, seed)


def run(folder, batch=6, seconds=0.0, fails=True):
    """A study in a table as the command makes it: two rounds."""
    table = folder.parent / "watched.json"
    keys = map("".join, itertools.product("1234", repeat=4))
    entries = {k: {"acc": [80.0 + i], "flops": 100 * (1 + sum(map(int, k)))} for i, k in enumerate(keys)}
    table.write_text(json.dumps(entries))
    recipe = SearchRecipe.load({"table": str(table), "searcher": "random", "rounds": 2, "batch": batch})
    folder.mkdir(exist_ok=True)
    evaluate = Slow(recipe.make_evaluator(), seconds, fails)
    with Study(folder, recipe.make_searcher(), evaluate, None, recipe.rounds, recipe.batch) as study:
        study.run()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "study"
    run(folder)
    return folder


def rendered(renderable, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def facts(path, **kwargs):
    return Facts(path, "RandomSearch", "table_watched", {"macs": "up to 1,700"}, 2, 6, "maximize")._replace(**kwargs)


def shown(study, lines, waiting=(), width=100, rows=20, **kwargs):
    """The view of a study's trials, some of them as they were before their scores, with a journal's lines."""
    records = [replace(r, state="waiting", value=None) if r.number in waiting else r for r in read_records(study)]
    return rendered(view(facts(study, **kwargs), records, lines, NOW, rows), width)


def driver(ago, where="elsewhere:7"):
    return Entry(NOW - ago, "driver", "started", None, where)


def test_a_finished_study_is_shown_with_its_best_code_its_faults_and_its_journal(finished, capsys):
    assert main(["watch", str(finished), "--once"]) == 0
    out, err = capsys.readouterr()
    records = read_records(finished)
    best = max((r for r in records if r.value is not None), key=lambda r: r.value)
    assert f"{finished}: RandomSearch over table_watched, macs up to 1,700" in out.replace("\n", "")
    assert re.search(r"^finished at \d\d:\d\d:\d\d$", out, re.MULTILINE)
    assert re.search(r" 12 of 12, 0:00:0\d$", out, re.MULTILINE)
    assert "10 scored, 2 failed, 0 running, 0 waiting" in out
    assert f"best {best.value:g} {best.code}\n" in out
    assert f"macs {best.costs['macs']:,.0f}, trial {best.number}, round {best.round + 1}, found at " in out
    assert f"best so far {records[0].value:g} " in out
    assert "4 faults (trial 3: 2, trial 8: 2)" in out
    assert "failed (RuntimeError: [Errno 28] no space): left out" in out
    assert out.endswith(" end    finished\n")
    assert "being scored" not in out
    assert err == ""


def test_what_is_being_scored_is_listed_the_earliest_first_and_the_rest_is_counted(finished):
    codes = [str(r.code) for r in read_records(finished)]
    starts = [Entry(NOW - ago, "start", "attempt 1", trial, f"worker {trial}") for trial, ago in ((7, 5), (6, 75))]
    lines = [driver(200), *starts]
    out = shown(finished, lines, waiting=range(6, 12))
    assert "5 scored, 1 failed, 2 running, 4 waiting" in out
    rows = [line.split(None, 3) for line in out.splitlines() if "worker" in line and "table" in line]
    assert rows == [["6", "0:01:15", codes[6], "worker 6"], ["7", "0:00:05", codes[7], "worker 7"]]
    assert "and 1 more" in shown(finished, lines, waiting=range(6, 12), rows=1)
    assert "running since 11:56:40 on elsewhere:7" in out
    assert " 6 of 12, 0:03:20\n" in out


def test_a_trial_whose_score_is_in_the_ledger_before_the_journal_is_not_being_scored(finished):
    lines = [driver(200), Entry(NOW - 9, "start", "attempt 1", 0, "worker"), Entry(NOW - 9, "start", "", 99, "worker")]
    assert "0 running" in shown(finished, lines)


@pytest.mark.parametrize("width", [80, 140])
def test_long_lines_are_cut_to_the_terminal_and_short_ones_are_not_wrapped(finished, width):
    lines = [driver(9), Entry(NOW, "fault", "long " * 60, 3), Entry(NOW, "fault", "long " * 60)]
    out = shown(finished, lines, width=width, folder=Path("study"))
    assert max(map(len, out.splitlines())) <= width
    assert out.count("…") == 4
    assert "2 faults (trial 3: 1, others: 1)" in out
    assert "study: RandomSearch over table_watched, macs up to 1,700\n" in out


def test_the_state_of_the_driver_and_what_goes_on(finished):
    end = Entry(NOW - 10, "end", "interrupted")
    assert "not started\n" in shown(finished, [])
    out = shown(finished, [driver(70), end], folder=Path("s"))
    assert "ended at 11:59:50: interrupted; `autobss resume s` goes on" in out
    assert "0:01:00" in out
    full = Entry(NOW - 10, "end", "OSError: [Errno 28] No space left on device")
    assert "ended at 11:59:50: OSError: [Errno 28] No space left on device; " in shown(finished, [driver(70), full])
    assert "running since 11:58:50 on elsewhere:7" in shown(finished, [driver(100), end, driver(70)])


def test_a_killed_driver_is_told_from_a_running_one(finished):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lines = [driver(70, f"{socket.gethostname()}:{process.pid}"), Entry(NOW - 9, "start", "attempt 1", 11, "a")]
    assert "running since" in shown(finished, lines, waiting=[11])
    process.kill()
    process.communicate()
    out = shown(finished, lines, waiting=[11], folder=Path("s"))
    assert "the driver was killed; `autobss resume s` goes on" in out
    assert "0 running, 1 waiting" in out
    assert "being scored" not in out


def test_a_study_without_a_score_or_a_trial(finished):
    out = rendered(view(facts(Path("s")), [], [driver(5)], NOW))
    assert " 0 of 12, 0:00:05\n" in out
    assert "best" not in out
    assert "faults" not in out
    assert "left" not in shown(finished, [driver(5)], waiting=range(12))


def test_the_best_score_of_a_study_that_minimises_is_the_lowest(finished):
    lowest = min(r.value for r in read_records(finished) if r.value is not None)
    out = shown(finished, [], direction="minimize")
    assert f"best {lowest:g} " in out
    assert f" {lowest:g}\n" in out[out.index("best so far") :]


def test_the_time_left_follows_the_speed_of_the_latest_driver():
    lines = [driver(5000), Entry(NOW - 4000, "score", "", 0), driver(100)]
    assert seconds_left(10, lines, NOW) is None
    lines += [Entry(NOW - 60, "score", "", 1), Entry(NOW - 20, "score", "", 2), Entry(NOW - 15, "fault", "", 3)]
    assert seconds_left(10, lines, NOW) == pytest.approx(10 * 40 - 20)
    assert seconds_left(1, lines, NOW + 300) == pytest.approx(40)
    assert seconds_left(0, lines, NOW) is None


def test_sparklines_go_from_the_lowest_to_the_highest_value_and_end_with_the_last():
    assert sparkline([1]) == "▁"
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, 3.5, 0]) == "█▅▁"
    assert sparkline(range(1000), width=8) == "▁▂▃▄▅▆▇█"
    assert len(sparkline(range(41))) == 40


def test_times_have_their_date_unless_it_is_today():
    assert clock(NOW - 60, NOW) == "11:59:00"
    assert clock(NOW - 86400, NOW) == "2030-05-05 12:00:00"
    assert (span(3725.9), span(-1), span(90000)) == ("1:02:05", "0:00:00", "1 day, 1:00:00")


def test_a_view_of_ten_thousand_trials(finished, tmp_path):
    some = read_records(finished)
    records = [replace(some[i % 12], number=i, state="complete", value=float(i % 977)) for i in range(10_000)]
    journal, text = tmp_path / "journal.jsonl", "table_watched{4,3,3,2} 313 in 0.1 s; best 313 of 1"
    lines = [Entry(NOW - 9, kind, text, i, "worker")._asdict() for i in range(10_000) for kind in ("start", "score")]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = rendered(view(facts(tmp_path, batch=6000), records, read_journal(tmp_path), NOW))
    assert "10,000 of 12,000" in out


def content(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_watching_changes_no_file_and_needs_no_lock(finished):
    before = content(finished)
    watcher = Watcher(finished)
    assert "12 of 12" in rendered(watcher.look(NOW))
    assert watcher.finished
    assert content(finished) == before


def test_a_locked_database_is_read_again_at_the_next_look(tmp_path):
    folder = tmp_path / "a # folder"
    run(folder)
    watcher = Watcher(folder)
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        locked = rendered(watcher.look(NOW))
        assert "the trials cannot be read now: database is locked" in locked
        assert "0 of 12" in locked
        assert not watcher.finished
        other.rollback()
        assert "12 of 12" in rendered(watcher.look(NOW))
        other.execute("BEGIN EXCLUSIVE")
        locked = rendered(watcher.look(NOW))
        assert "cannot be read now" in locked
        assert "12 of 12" in locked
    assert "cannot be read now" not in rendered(watcher.look(NOW))
    assert watcher.finished


def test_a_database_that_is_not_there_yet_is_not_made(tmp_path):
    folder = tmp_path / "study"
    run(folder)
    (folder / "study.db").rename(tmp_path / "kept.db")
    watcher = Watcher(folder)
    assert "cannot be read now: unable to open database file" in rendered(watcher.look(NOW))
    (folder / "study.db").touch()
    assert "cannot be read now: " in rendered(watcher.look(NOW))
    assert (folder / "study.db").stat().st_size == 0
    (tmp_path / "kept.db").replace(folder / "study.db")
    assert "12 of 12" in rendered(watcher.look(NOW))


def test_another_study_in_the_same_folder_is_shown_from_its_begin(tmp_path):
    folder = tmp_path / "study"
    run(folder, fails=True)
    watcher = Watcher(folder)
    assert "10 scored, 2 failed" in rendered(watcher.look(NOW))
    shutil.rmtree(folder)
    run(folder, fails=False)
    assert "12 scored, 0 failed" in rendered(watcher.look(NOW))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "nowhere: there is no study here; `autobss search` starts one"),
        (["."], 1, ".: there is no study here"),
        ([".", "--once"], 1, ".: there is no study here"),
        ([".", "--interval", "0"], 2, "--interval: expected a number from 0.1 to 3600, got '0'"),
        ([".", "--interval", "nan"], 2, "--interval: expected a number from 0.1 to 3600, got 'nan'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert main(["watch", *arguments]) == code
    err = capsys.readouterr().err
    assert err.startswith(f"autobss: error: {message}")
    assert err.count("\n") == 1


def test_a_report_lists_the_last_faults_and_says_where_the_others_are(finished, tmp_path, capsys):
    assert main(["report", str(finished)]) == 0
    out = capsys.readouterr().out
    assert out.index("Rounds") < out.index("What went wrong") < out.index("Best scores")
    assert out.count("RuntimeError: [Errno 28] no space") == 4
    assert re.search(r"│ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d │ +3 │ table_watched\{", out)
    assert "earlier" not in out
    shutil.copytree(finished, tmp_path / "many")
    for i in range(18):
        Journal(tmp_path / "many").write("fault", f"[disk] full, tried again: {i}")
    assert main(["report", str(tmp_path / "many")]) == 0
    out = capsys.readouterr().out
    assert out.count("RuntimeError") == 2
    assert re.search(r"│ +│ \[disk\] full, tried again: 17", out)
    assert "and 2 earlier; journal.jsonl has all" in out


def test_a_report_of_a_study_without_faults_says_nothing_of_them(tmp_path, capsys):
    run(tmp_path / "study", fails=False)
    assert main(["report", str(tmp_path / "study")]) == 0
    assert "What went wrong" not in capsys.readouterr().out


class Terminal:
    """The command in a pseudo-terminal of its own."""

    def __init__(self, *arguments):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "autobss_search", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.output = ""

    def type(self, text):
        os.write(self._master, text.encode())

    def read(self, until=None, seconds=60):
        """Read until a pattern or, without one, the end; what came, without colours."""
        end = time.monotonic() + seconds
        while until is None or not re.search(until, self.output):
            assert time.monotonic() < end, self.output
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    data = os.read(self._master, 1 << 16)
                except OSError:  # it has ended
                    data = b""
                if not data:
                    assert until is None, self.output
                    break
                self.output += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        return self.output


@pytest.fixture
def terminal():
    opened = []

    def open_terminal(*arguments):
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def start(tmp_path):
    started = []

    def start_study(folder, seconds):
        started.append(subprocess.Popen([sys.executable, __file__, str(folder), str(seconds)]))
        return started[-1]

    yield start_study
    for process in started:
        process.kill()
        process.wait()


def test_a_terminal_waits_for_a_study_follows_it_and_ends_with_it(tmp_path, terminal, start):
    folder = tmp_path / "study"
    folder.mkdir()
    watching = terminal("watch", str(folder), "--interval", "0.1")
    watching.read("waiting for a study; ")
    driving = start(folder, 0.5)
    watching.read(r"0:00:0\d +table_watched\{\S+ +this process")
    watching.read("running since ")
    watching.read(r"about \d:\d\d:\d\d left")
    out = watching.read()
    assert (watching.process.wait(60), driving.wait(60)) == (0, 0)
    counts = [int(n) for n in re.findall(r"(\d+) of 12, ", out)]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert "Traceback" not in out
    last = out[out.rindex("finished at ") :]
    assert " 12 of 12, " in last
    assert "10 scored, 2 failed, 0 running, 0 waiting" in last
    assert last.endswith(" end    finished\r\n")


def test_a_terminal_stays_while_a_killed_driver_may_be_resumed(finished, tmp_path, terminal):
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    driven = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    journal = Journal(folder)
    journal.write("driver", "resumed", where=f"{socket.gethostname()}:{driven.pid}")
    watching = terminal("watch", str(folder), "--interval", "0.1")
    watching.read("running since ")
    driven.kill()
    driven.communicate()
    watching.read("the driver was killed; ")
    journal.write("driver", "resumed", where="elsewhere:7")
    watching.read("on elsewhere:7")
    journal.write("end", "interrupted")
    watching.read("interrupted; ")
    journal.write("driver", "resumed", where="elsewhere:8")
    journal.write("end", "finished")
    assert "finished at" in watching.read()
    assert watching.process.wait(60) == 0


def test_control_c_ends_the_view_quietly_and_not_the_study(tmp_path, terminal, start):
    (tmp_path / "study").mkdir()
    driving = start(tmp_path / "study", 600)
    watching = terminal("watch", str(tmp_path / "study"), "--interval", "0.1")
    watching.read(r"table_watched\{\S+ +this process")
    watching.type("\x03")
    out = watching.read()
    assert watching.process.wait(60) == 0
    assert "Traceback" not in out
    assert "error" not in out
    assert driving.poll() is None


if __name__ == "__main__":
    run(Path(sys.argv[1]), seconds=float(sys.argv[2]))
