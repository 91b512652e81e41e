"""Files are written whole or not at all, and leave nothing behind."""

import errno
import fcntl
import os
import resource
import signal
import stat
from pathlib import Path

import pytest
import torch
from launching import start

from fairseq_floater import files
from fairseq_floater.errors import UserError
from fairseq_floater.files import require_other_file, written_whole


def write(path, content=b"new"):
    with written_whole(path) as file:
        file.write(content)


@pytest.fixture
def full_disk():
    """Limit files to 10,000 bytes: the system's error differs, but we see it in the same way."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_modes_and_links_stay(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "hard").hardlink_to(tmp_path / "file")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert (tmp_path / "hard").read_bytes() == b"old"
    mask = os.umask(0o027)
    try:
        write(tmp_path / "fresh")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_two_at_once_do_not_share_a_file(tmp_path):
    path = tmp_path / "file"
    with written_whole(path) as first, written_whole(path) as second:
        first.write(b"first")
        second.write(b"second")
        names = os.listdir(tmp_path)
        assert len(names) == 2
        assert all(name.startswith(".file.") and name.endswith(".part") for name in names)
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["file"]


def test_a_foreseen_name_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda count: "0")
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / ".file.0.part").symlink_to("victim")
    with pytest.raises(FileExistsError):
        write(tmp_path / "file")
    assert (tmp_path / "victim").read_bytes() == b"mine" and not (tmp_path / "file").exists()


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(5, "no", "x")])
def test_errors_leave_the_old_file(error, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(type(error)) as raised, written_whole(tmp_path / "file") as file:
        file.write(b"new")
        raise error
    assert raised.value is error
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def test_a_full_disk_is_named_in_the_end(full_disk, tmp_path):
    """Also by torch, which aborts the process if an exported program's file refuses a write."""
    program = torch.export.export(torch.nn.Linear(100, 100), (torch.ones(1, 100),))
    for name, save in (
        ("bytes", lambda file: file.write(bytes(100_000))),
        ("tensor", lambda file: torch.save(torch.zeros(100_000), file)),
        ("program", lambda file: torch.export.save(program, file)),
    ):
        path = tmp_path / name
        with pytest.raises(OSError) as error, written_whole(path) as file:
            save(file)
        assert error.value.errno == errno.EFBIG and error.value.filename == str(path)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    """The folder is like a drop box. The file is in its place, so nothing has failed."""

    def refuse(path, flags, *more, opened=os.open):
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *more)

    monkeypatch.setattr("os.open", refuse)
    write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_only_files_are_replaced(kind, tmp_path):
    path = tmp_path / kind
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(OSError) as error:
        write(path)
    assert error.value.filename == str(path) and os.listdir(tmp_path) == [kind]


WRITER = """
import signal, sys, time
from pathlib import Path
from fairseq_floater.files import written_whole
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as does one under nohup
with written_whole(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    import os
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_nothing(number, tmp_path):
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    with start(script, tmp_path / "file") as process:
        writer = int(process.stdout.readline())
        assert len(os.listdir(tmp_path)) == 2
        os.kill(writer, number)
        assert process.wait() != 0
    assert os.listdir(tmp_path) == ["writer.py"]


def test_signals_are_what_they_were(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with written_whole(tmp_path / "file"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_inputs_are_known_under_every_name(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    path.write_bytes(b"weights")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "hard").hardlink_to(path)
    monkeypatch.chdir(tmp_path)
    for output in (path, tmp_path / "link", tmp_path / "hard", Path("a.pt"), Path("./x/../a.pt")):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="would be overwritten by what is made from it"):
            require_other_file(output, tmp_path / "missing", path)
    require_other_file(tmp_path / "new.pt", path)


def test_a_file_that_is_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    """Another program that writes the same file may look before it is locked."""
    lock, taken = fcntl.flock, []

    def late(number, how):
        for part in tmp_path.glob(".*.part"):
            if not taken:
                taken.append(part.unlink())
        lock(number, how)

    monkeypatch.setattr(fcntl, "flock", late)
    files.write_text(tmp_path / "a", "whole")
    assert taken and [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "whole"


def test_a_folder_that_a_killed_program_left_is_removed_and_no_other(tmp_path):
    left, other = (tmp_path / f".{name}.{'0' * 16}.part" for name in ("out", "other"))
    for folder in (left, other):
        (folder / "whole").mkdir(parents=True)
        (folder / "whole/model").write_text("half")
    with files.written_folder(tmp_path / "out") as first:
        (first / "model").write_text("whole")
        with files.written_folder(tmp_path / "out.2") as second:
            (second / "model").write_text("whole")
        files.remove_leftovers(tmp_path, "out")
        assert first.is_dir() and not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "out", "out.2"]
