"""Damaged, foreign and impossible studies: records or one clear line, and nothing is changed."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import study_script
from autobss_search import AutoBSS
from autobss_search.command.cli import main
from autobss_search.errors import StudyError
from autobss_search.studies.reading import StudyFolder, read_records
from autobss_search.studies.study import Study


def score(code, seed):
    return float(sum(code)) + seed / 100


def open_study(folder, **kwargs):
    searcher = AutoBSS(study_script.killable(), "paper", n_candidates=50)
    return Study(folder, searcher, score, rounds=2, batch=4, **kwargs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "study"
    with open_study(folder) as study:
        study.run()
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "study"))


def content(folder):
    """What a folder holds; of what is no file or folder its kind."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else path.is_dir()
        for path in folder.rglob("*")
    }


def uses(folder):
    """Everything that can be done with a study's folder from Python."""
    yield lambda: read_records(folder)
    yield lambda: StudyFolder(folder).answer(StudyFolder(folder).records())
    yield lambda: Study.resume(folder).__exit__(None, None, None)
    yield lambda: open_study(folder).__exit__(None, None, None)


def refuses(folder, *texts):
    """Whether Python and the command refuse a study with one line that has one of the texts, and change nothing."""
    before = content(folder)
    for use in uses(folder):
        with pytest.raises(StudyError) as caught:
            use()
        assert "\n" not in str(caught.value)
        assert any(text in str(caught.value) for text in texts), caught.value
        assert content(folder) == before


def says(capsys, folder, *arguments):
    """The line with which the command refuses."""
    assert main([*arguments, str(folder)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("autobss: error: ")
    assert err.count("\n") == 1
    return err


def replaced(path, kind):
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "text":
        path.write_text("# what has this to do here?\n" * 100)


@pytest.mark.parametrize("kind", ["folder", "fifo", "text"])
@pytest.mark.parametrize("file", ["study.db", "study.json"])
def test_what_is_no_such_file_is_refused(copy, capsys, file, kind):
    replaced(copy / file, kind)
    refuses(copy, file)
    for command in (["report"], ["resume"], ["watch", "--once"]):
        assert file in says(capsys, copy, *command)


def test_a_database_that_was_emptied_or_removed_is_refused(copy, capsys):
    (copy / "study.db").write_bytes(b"")
    refuses(copy, "study.db: holds no study")
    (copy / "study.db").unlink()
    refuses(copy, "study.db: unable to open database file", "study.db: holds no study")
    assert "study.db: unable to open database file" in says(capsys, copy, "report")


def test_databases_of_others_are_refused(copy):
    (copy / "study.db").unlink()
    with closing(sqlite3.connect(copy / "study.db")) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    refuses(copy, "a database of something else: it has the table customers")
    (copy / "study.json").unlink()
    before = content(copy)
    with pytest.raises(StudyError, match="a database of something else"):
        open_study(copy)
    assert content(copy) == before
    for name, text in (("other", "an Optuna storage of another study: 'other'"), ("autobss", "of something else")):
        (copy / "study.db").unlink()
        theirs = optuna.create_study(study_name=name, storage=f"sqlite:///{copy / 'study.db'}")
        theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), 2)
        before = content(copy)
        with pytest.raises(StudyError, match=text):
            open_study(copy)
        assert content(copy) == before


def test_the_tables_of_another_optuna_are_named(copy):
    with closing(sqlite3.connect(copy / "study.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
        database.commit()
    refuses(copy, "expected tables of Optuna's revision v3.2.0.a, got v9.0.0.a")


def test_a_study_of_another_folder_is_refused(copy, tmp_path):
    with open_study(tmp_path / "other"):
        pass
    shutil.copy(tmp_path / "other" / "study.json", copy)
    refuses(copy, "belongs to the study of another folder")


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-9])])
def test_arrays_that_are_not_as_they_were_are_refused(copy, damage):
    for path in (copy / "arrays").iterdir():
        damage(path)
    assert len(read_records(copy)) == 8
    before = content(copy)
    with pytest.raises(StudyError, match="are missing or were changed"):
        open_study(copy)
    with pytest.raises(StudyError, match="are missing or were changed"):
        StudyFolder(copy).answer(read_records(copy))
    assert content(copy) == before


@pytest.mark.parametrize(
    "storage",
    [
        "nonsense://",
        "nonsense",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////no/such/folder/study.db",
        "sqlite:////dev",
        "postgresql+nonesuch://user:secret@nowhere/name",
        "mysql+pymysql://user:secret@nowhere/name",
        "postgresql://user:secret@127.0.0.1:1/{name}",
        7,
    ],
)
def test_impossible_storages_leave_nothing(tmp_path, storage):
    with pytest.raises(StudyError, match="storage: ") as caught:
        open_study(tmp_path / "a" / "study", storage=storage)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["file", "under a file", "lock"])
def test_impossible_folders_are_named(tmp_path, kind):
    (tmp_path / "file").write_text("mine")
    folder = {"file": tmp_path / "file", "under a file": tmp_path / "file" / "s", "lock": tmp_path / "s"}[kind]
    if kind == "lock":
        (folder / "driver.lock").mkdir(parents=True)
    before = content(tmp_path)
    with pytest.raises(StudyError, match="can be no study's folder"):
        open_study(folder)
    assert content(tmp_path) == before


def test_foreign_lines_of_the_journal_are_left_out(copy, capsys):
    with open(copy / "journal.jsonl", "ab") as file:
        for line in (
            '{"time": "x", "kind": [], "text": {}}',
            '{"time": 1e999, "kind": "fault", "text": "x"}',
            "[" * 9999,
        ):
            file.write(line.encode() + b"\n")
        file.write(b'{"time": 1, "kind": "driver", "text": "x", "where": 7}\n\xff\xfe\n')
    for command in (["report"], ["watch", "--once"]):
        assert main([*command, str(copy)]) == 0
    assert "Traceback" not in capsys.readouterr().err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def check(folder):
    """Records that hang together or a StudyError of one line, whatever was done to a folder; then it is as before."""
    before = content(folder)
    for use in uses(folder):
        problem = None
        try:
            use()
        except StudyError as error:
            problem = str(error)
        if problem is not None:
            assert "\n" not in problem
            assert content(folder) == before
    try:
        records = read_records(folder)
    except StudyError:
        return
    space = StudyFolder(folder).space
    assert [r.number for r in records] == sorted({r.number for r in records})
    for record in records:
        assert record.code in space or record.code.family == space.family
        assert (record.value is not None) == (record.state == "complete")


fuzz = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(data=st.data())
def test_damaged_bytes(finished, tmp_path, data):
    folder = Path(shutil.copytree(finished, tmp_path / "study", dirs_exist_ok=True))
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    path = folder / data.draw(st.sampled_from(names))
    bytes_ = bytearray(path.read_bytes())
    how = data.draw(st.sampled_from(["flip", "cut", "zeros"]))
    if how == "cut":
        bytes_ = bytes_[: data.draw(st.integers(0, len(bytes_)))]
    elif bytes_:
        for _ in range(data.draw(st.integers(1, 20))):
            bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = 0 if how == "zeros" else data.draw(st.integers(0, 255))
    path.write_bytes(bytes_)
    check(folder)


@fuzz
@given(data=st.data())
def test_altered_attributes(finished, tmp_path, data):
    folder = Path(shutil.copytree(finished, tmp_path / "study", dirs_exist_ok=True))
    table = data.draw(st.sampled_from(["trial_user_attributes", "study_user_attributes"]))
    value = data.draw(JSON.map(json.dumps) | st.text(max_size=5) | st.none())
    with closing(sqlite3.connect(folder / "study.db")) as database:
        keys = [row[0] for row in database.execute(f"SELECT DISTINCT key FROM {table} ORDER BY key")]
        key = data.draw(st.sampled_from(keys))
        database.execute(f"UPDATE {table} SET value_json = ? WHERE key = ?", (value, key))
        database.commit()
    check(folder)


@fuzz
@given(data=st.data())
def test_an_altered_description(finished, tmp_path, data):
    folder = Path(shutil.copytree(finished, tmp_path / "study", dirs_exist_ok=True))
    description = json.loads((folder / "study.json").read_text())
    part, key = description, data.draw(st.sampled_from(sorted(description)))
    while isinstance(part[key], dict) and part[key] and data.draw(st.booleans()):
        part = part[key]
        key = data.draw(st.sampled_from(sorted(part)))
    part[key] = data.draw(JSON)
    (folder / "study.json").write_text(json.dumps(description))
    check(folder)


@fuzz
@given(data=st.data())
def test_altered_rows(finished, tmp_path, data):
    folder = Path(shutil.copytree(finished, tmp_path / "study", dirs_exist_ok=True))
    columns = [
        "trials.number",
        "trials.state",
        "trial_values.value",
        "studies.study_name",
        "study_directions.direction",
    ]
    table, column = data.draw(st.sampled_from(columns)).split(".")
    value = data.draw(st.none() | st.integers(-3, 99) | st.floats() | st.text(max_size=5) | st.binary(max_size=5))
    with closing(sqlite3.connect(folder / "study.db")) as database:
        row = data.draw(st.integers(1, 8))
        try:
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
        except sqlite3.IntegrityError:
            return
        database.commit()
    check(folder)
