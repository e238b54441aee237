"""The journal: what survives kills and full disks, and what it says of now."""

import json
import os
import socket
import subprocess
import sys

import pytest

from autobss_search.studies.journal import NAME, Entry, Journal, here, read_journal, status

WRITER = """
import os, sys, time
from pathlib import Path
from autobss_search.studies.journal import Journal, here
journal = Journal(Path(sys.argv[1]))
journal.write("driver", "started", where=here())
journal.write("start", "attempt 1", 0, "a")
print("written", flush=True)
time.sleep(600)
"""


def texts(folder):
    return [entry.text for entry in read_journal(folder)]


def test_lines_come_back_as_they_were_written(tmp_path):
    assert read_journal(tmp_path) == []
    journal = Journal(tmp_path)
    journal.write("driver", "started", where=here())
    journal.write("fault", 'two\nlines, "quotes", \u2028 and \u00e4', 3)
    first, second = read_journal(tmp_path)
    assert (first.kind, first.text, first.trial) == ("driver", "started", None)
    assert first.where == f"{socket.gethostname()}:{os.getpid()}"
    assert second[1:] == ("fault", 'two\nlines, "quotes", \u2028 and \u00e4', 3, None)
    assert first.time <= second.time
    assert len((tmp_path / NAME).read_bytes().splitlines()) == 2


def test_the_next_writer_ends_a_line_that_a_kill_has_torn_and_loses_none_of_its_own(tmp_path):
    Journal(tmp_path).write("round", "first")
    with open(tmp_path / NAME, "a") as file:
        file.write('{"time": 1.0, "kind": "score", "te')
    assert texts(tmp_path) == ["first"]
    journal = Journal(tmp_path)
    journal.write("driver", "second")
    journal.write("score", "third")
    assert texts(tmp_path) == ["first", "second", "third"]


@pytest.mark.parametrize(
    "broken", [b"", b"null", b"7", b"[]", b"{}", b'{"time": 1, "kind": "x", "text": "y", "odd": 1}', b"\xff\xfe{", b"}"]
)
def test_broken_lines_are_left_out(tmp_path, broken):
    journal = Journal(tmp_path)
    journal.write("round", "first")
    with open(tmp_path / NAME, "ab") as file:
        file.write(broken + b"\n")
    journal.write("round", "second")
    assert texts(tmp_path) == ["first", "second"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_lines_that_a_full_disk_refused_are_written_with_the_next(tmp_path):
    journal = Journal(tmp_path)
    journal.write("round", "before")
    (tmp_path / NAME).rename(tmp_path / "kept")
    (tmp_path / NAME).symlink_to("/dev/full")
    journal.write("score", "one")
    journal.write("score", "two")
    (tmp_path / "kept").replace(tmp_path / NAME)
    assert texts(tmp_path) == ["before"]
    journal.write("score", "three")
    assert texts(tmp_path) == ["before", "one", "two", "three"]


def test_a_part_of_a_line_that_fitted_on_the_disk_is_taken_back(tmp_path):
    script = f"""
import resource, signal
from pathlib import Path
from autobss_search.studies.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path({str(tmp_path)!r}))
journal.write("round", "before")
size = Path({str(tmp_path / NAME)!r}).stat().st_size
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
journal.write("score", "one")
assert Path({str(tmp_path / NAME)!r}).stat().st_size == size
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
journal.write("score", "two")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert texts(tmp_path) == ["before", "one", "two"]
    assert all(map(json.loads, (tmp_path / NAME).read_text().splitlines()))


def test_a_folder_that_has_gone_does_not_end_the_driver(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    journal = Journal(folder)
    folder.rmdir()
    journal.write("score", "one")
    folder.mkdir()
    journal.write("score", "two")
    assert texts(folder) == ["one", "two"]


def entry(kind, trial=None, where=None, time=0.0):
    return Entry(time, kind, f"{kind} {trial}", trial, where)


def test_no_lines_say_nothing():
    assert status([]) == (None, None, {}, [])
    assert not status([]).killed


def test_a_trial_is_being_scored_from_its_start_to_its_score_or_fault():
    driver, first, second = entry("driver", where=here()), entry("start", 0, "a"), entry("start", 1, "b")
    lines = [driver, entry("round"), first, second]
    assert status(lines) == (driver, None, {0: first, 1: second}, [])
    assert status([*lines, entry("score", 0)]).running == {1: second}
    fault = entry("fault", 1)
    now = status([*lines, entry("score", 0), fault])
    assert (now.running, now.faults) == ({}, [fault])
    again = entry("start", 1, "c")
    assert status([*lines, fault, again]).running == {0: first, 1: again}
    other = entry("fault")
    assert status([*lines, other]) == (driver, None, {0: first, 1: second}, [other])


def test_the_end_of_a_driver_and_the_begin_of_the_next_leave_nothing_running_and_keep_the_faults():
    lines = [entry("driver", where="elsewhere:1"), entry("fault", 0), entry("start", 0), entry("start", 1)]
    end, driver = entry("end"), entry("driver", where="elsewhere:2")
    assert status([*lines, end])[1:] == (end, {}, lines[1:2])
    assert status([*lines, driver]) == (driver, None, {}, lines[1:2])
    assert status([*lines, end, driver]).ended is None


def test_only_a_driver_of_this_machine_is_known_to_be_killed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    alive = status(read_journal(tmp_path))
    assert (alive.driver.where, alive.killed) == (f"{socket.gethostname()}:{process.pid}", False)
    process.kill()
    process.communicate(timeout=60)
    gone = status(read_journal(tmp_path))
    assert gone.killed
    assert list(gone.running) == [0]
    assert not gone._replace(driver=gone.driver._replace(where=f"elsewhere:{process.pid}")).killed
    assert not gone._replace(ended=entry("end")).killed
    Journal(tmp_path).write("driver", "resumed", where=here())
    assert not status(read_journal(tmp_path)).killed


def test_a_driver_of_another_user_is_alive():
    assert not status([entry("driver", where=f"{socket.gethostname()}:1")]).killed
