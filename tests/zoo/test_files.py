"""Where files are written: links, pipes, devices, sockets and what else can be at a path. No real device is touched."""

import os
import socket
import stat
import subprocess
import sys
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobss_zoo.files import check_output, replacing, write_atomically


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path):
    """No test leaves a temporary file."""
    yield
    assert not list(tmp_path.rglob(".*"))


def read_in_background(path):
    """A thread that reads a pipe to its end, and what it has read."""
    found = []
    thread = Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    thread.start()
    return thread, found


def stop_half_way(path, error):
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


def test_permissions_are_an_ordinary_writers(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new", b"1")
    finally:
        os.umask(before)
    (tmp_path / "old").write_bytes(b"0")
    (tmp_path / "old").chmod(0o604)
    write_atomically(tmp_path / "old", b"1")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old")]
    assert modes == [0o640, 0o604]


@given(st.lists(st.sampled_from(["beside", "other/beside", "../beside"]), max_size=4), st.booleans())
def test_links_are_followed(tmp_path_factory, hops, exists):
    """Through any chain of links, also to a file that is not there yet; the links stay."""
    tmp_path = tmp_path_factory.mktemp("links")
    path, links = tmp_path / "a" / "b" / "c" / "d" / "start", []
    path.parent.mkdir(parents=True)
    for number, hop in enumerate(hops):
        goal = path.parent / f"{hop}{number}"
        goal.parent.mkdir(exist_ok=True)
        path.symlink_to(f"{hop}{number}")
        links.append(path)
        path = goal
    if exists:
        path.write_bytes(b"before")
    write_atomically((links or [path])[0], b"after")
    assert path.read_bytes() == b"after"
    assert not path.is_symlink()
    assert all(link.is_symlink() for link in links)


def test_pipes_are_written_through(tmp_path):
    pipe, link = tmp_path / "pipe.csv", tmp_path / "link.csv"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        thread, found = read_in_background(pipe)
        write_atomically(path, b"x" * 200_000)
        thread.join(10)
        assert found == [b"x" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert link.is_symlink()


def test_a_pipe_gets_finished_bytes_only(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ZeroDivisionError):
        stop_half_way(tmp_path / "pipe", ZeroDivisionError())  # nobody reads: opening it would wait


@pytest.mark.skipif(not hasattr(os, "mknod") or os.geteuid() != 0, reason="only root makes nodes")
def test_nodes_are_not_replaced(tmp_path):
    """Character devices (a second null and a second full one, in the test's folder) are written to; disks are not."""
    null, full, disk = tmp_path / "null", tmp_path / "full", tmp_path / "disk"
    try:
        os.mknod(null, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(full, stat.S_IFCHR | 0o600, os.makedev(1, 7))
        os.mknod(disk, stat.S_IFBLK | 0o600, os.makedev(259, 1048575))  # of no disk
        null.read_bytes()
    except OSError:
        pytest.skip("no nodes can be made or used here")
    write_atomically(null, b"1")
    with pytest.raises(OSError, match=r"No space left on device.*full"):
        write_atomically(full, b"1")
    with pytest.raises(OSError, match="is a socket or a disk"):
        write_atomically(disk, b"1")
    assert [stat.S_ISCHR(path.stat().st_mode) for path in (null, full, disk)] == [True, True, False]
    assert stat.S_ISBLK(disk.stat().st_mode)


def test_own_output_is_written_to(tmp_path):
    """Also where it is a file: what is printed before and after stays."""
    script = (
        "from autobss_zoo.files import write_atomically; print('before');"
        "write_atomically('/dev/stdout', b'file\\n'); print('after')"
    )
    with open(tmp_path / "out", "w") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nfile\nafter\n"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"before\nfile\nafter\n"


def test_what_is_no_place_for_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("missing/file")
    (tmp_path / "to_folder").symlink_to("folder")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket")
    before = sorted(tmp_path.rglob("*"))
    for name, message in {
        "folder": "folder: is a folder",
        "to_folder": "to_folder: is a folder",
        "socket": "socket: is a socket",
        "loop": "symbolic links: 'loop'",
        "missing/file": "missing/file: the folder missing does not exist",
        "dangling": "dangling: the folder .*missing does not exist",
        "file/below": "Not a directory: 'file/below'",
        "x" * 300: "File name too long: 'xxx",
        "": "is a folder",
    }.items():
        for write in (check_output, lambda path: write_atomically(path, b"1")):
            with pytest.raises(OSError, match=message):
                write(name)
    listening.close()
    assert sorted(tmp_path.rglob("*")) == before


def test_long_names_are_written(tmp_path):
    write_atomically(tmp_path / ("x" * 255), b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 255]


def test_errors_name_the_file_and_leave_it(tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        stop_half_way(tmp_path / "file", OSError(28, "No space left on device"))
    with pytest.raises(FileNotFoundError, match="other"), replacing(tmp_path / "file"):
        (tmp_path / "other").read_bytes()
    assert (tmp_path / "file").read_bytes() == b"before"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_permissions_are_kept_to(tmp_path):
    """A file that must not be written is not replaced either; where no file may be made is said before it is tried."""
    (tmp_path / "file").write_bytes(b"before")
    (tmp_path / "file").chmod(0o444)
    script = (
        "import os; from autobss_zoo.files import write_atomically; os.setuid(65534)\n"
        "for name in ('file', 'new'):\n"
        "    try: write_atomically(name, b'1')\n"
        "    except PermissionError as error: print(error)\n"
    )
    tmp_path.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.count("nothing may be written there") == 2
    assert (tmp_path / "file").read_bytes() == b"before"
