"""Downloads over real HTTP on this machine, from a server with every fault that we know."""

import hashlib
import os
import subprocess
import sys
import time

import download as downloading
import fetch
import part
import pytest
from corpora import environment, fails, run, sha256, succeeds
from places import PREP
from stages import UserError

pytest_plugins = ["corpora"]

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
NAME = "/data/corpus.tgz"


@pytest.fixture
def url(site):
    site.files[NAME] = CONTENT
    return site.address + NAME


@pytest.fixture
def file(tmp_path):
    return tmp_path / "download" / "corpus.tgz"


def download(url, file, *options, **variables):
    return run("fetch.py", url, file, *(options or ("--sha256", SHA256)), **variables)


def is_there(file):
    """True if the whole file is there, and nothing else."""
    return file.read_bytes() == CONTENT and list(file.parent.iterdir()) == [file]


def part_of(file, url):
    """Return the path of a partial download, which depends on the address and the checksum."""
    return part.name_of(file, url, ("sha256", SHA256))


def left(file):
    return [path.name for path in file.parent.iterdir()]


def test_a_file_is_downloaded_once(site, url, file):
    assert succeeds(download(url, file)) == f"corpus.tgz: 0.3 MB from {url}\n"
    assert is_there(file)
    assert succeeds(download(url, file)) == "corpus.tgz: already there\n"
    assert site.requests == [(NAME, None)]


def test_md5_and_no_checksum(url, file):
    succeeds(download(url, file, "--md5", hashlib.md5(CONTENT).hexdigest()))
    assert is_there(file)
    file.unlink()
    succeeds(run("fetch.py", url, file))
    assert is_there(file)


def test_a_cut_connection_is_taken_up_where_it_ended(site, url, file):
    site.cuts[NAME] = [100_000, 50_000]
    done = download(url, file)
    succeeds(done)
    assert is_there(file) and site.sent[NAME] == len(CONTENT)  # no byte twice
    assert site.requests == [(NAME, None), (NAME, "bytes=100000-"), (NAME, "bytes=150000-")]
    again = "corpus.tgz: the connection ended at byte {} of 307,200: trying again"
    assert done.stderr.splitlines() == [again.format("100,000"), again.format("150,000")]


def test_a_killed_download_goes_on_in_the_next_run(site, url, file):
    site.cuts[NAME] = [200_000]
    site.stall.clear()
    command = [sys.executable, PREP / "fetch.py", url, file, "--sha256", SHA256]
    process = subprocess.Popen(list(map(str, command)), env=environment())
    part = part_of(file, url)
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= 131_072):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    site.stall.set()
    assert left(file) == [part.name]
    arrived = part.stat().st_size
    succeeds(download(url, file))
    assert is_there(file) and site.requests[1] == (NAME, f"bytes={arrived}-")


def test_a_server_without_ranges_starts_over(site, url, file):
    site.ranges, site.cuts[NAME] = False, [100_000]
    succeeds(download(url, file))
    assert is_there(file) and site.sent[NAME] == 100_000 + len(CONTENT)


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"more"])
def test_a_part_that_is_whole_or_too_long(site, url, file, content):
    file.parent.mkdir()
    part_of(file, url).write_bytes(content)
    succeeds(download(url, file))
    assert is_there(file)
    assert site.sent[NAME] == (0 if content == CONTENT else len(CONTENT))


def test_a_wrong_checksum_leaves_nothing(site, url, file):
    site.files[NAME] = b"other"
    message = f"sha256 {OTHER}, not {SHA256}: the download was deleted, run again"
    fails(download(url, file), f"{url} has {message}")
    assert left(file) == []
    site.files[NAME] = CONTENT
    succeeds(download(url, file))
    assert is_there(file)


def test_a_file_that_has_changed_is_downloaded_again(url, file):
    file.parent.mkdir()
    file.write_bytes(b"other")
    message = f"sha256 {OTHER}, not {SHA256}: it was deleted, run again to download it"
    fails(download(url, file), f"{file} has {message}")
    succeeds(download(url, file))
    assert is_there(file)


def test_an_address_that_does_not_exist(site, url, file):
    fails(download(url + "x", file), f"{url}x: HTTP 404: check the address, or set DATA_MIRROR")
    site.errors[NAME] = [403]
    wanted = f"{url}: HTTP 403 Forbidden: check the address, or set DATA_MIRROR"
    fails(download(url, file), wanted)
    assert left(file) == []
    gone = file.parent / "none"
    missing = f"{gone.as_uri()}: no such file: check the address, or set DATA_MIRROR"
    fails(download(gone.as_uri(), file), missing)


def test_a_busy_server_is_asked_again(site, url, file):
    site.errors[NAME] = [503]
    done = download(url, file)
    assert succeeds(done) and is_there(file)
    assert done.stderr == "corpus.tgz: HTTP 503 Service Unavailable: trying again\n"


def test_a_server_that_is_not_there(monkeypatch, file):
    """It fails after five tries. This runs in this process, to shorten the waits between them."""
    monkeypatch.setattr(downloading, "WAIT", 0.001)
    message = "127.0.0.1:1/x: Connection refused: check the network, then run again to continue"
    with pytest.raises(fetch.UserError, match=message):
        fetch.fetch("http://127.0.0.1:1/x", file, None)


def test_a_server_that_always_cuts(monkeypatch, site, url, file):
    """It tries again as long as every try brings more, and keeps what has arrived."""
    monkeypatch.setattr(downloading, "WAIT", 0.001)
    site.cuts[NAME] = [1000] * 8 + [0] * 4
    with pytest.raises(fetch.UserError, match="ended at byte 8,000 of 307,200: check the network"):
        fetch.fetch(url, file, ("sha256", SHA256))
    assert len(site.requests) == 12 and left(file) == [part_of(file, url).name]
    fetch.fetch(url, file, ("sha256", SHA256))
    assert is_there(file) and site.sent[NAME] == len(CONTENT)


def test_a_mirror_is_tried_first(site, url, file, tmp_path):
    """The mirror is a folder or an address, with files by host and path or by name."""
    host = site.address.removeprefix("http://")
    for place in (tmp_path / "a" / f"{host}{NAME}", tmp_path / "b" / "corpus.tgz"):
        place.parent.mkdir(parents=True)
        place.write_bytes(CONTENT)
        mirror = tmp_path / place.relative_to(tmp_path).parts[0]
        assert str(place) in succeeds(download(url, file, DATA_MIRROR=mirror))
        assert is_there(file) and place.exists()
        file.unlink()
    assert site.requests == []
    site.files["/m/elsewhere.org/data/corpus.tgz"] = CONTENT
    site.files["/n/corpus.tgz"] = CONTENT
    for mirror in ("/m", "/n/"):
        succeeds(download("http://elsewhere.org" + NAME, file, DATA_MIRROR=site.address + mirror))
        assert is_there(file)
        file.unlink()


def test_a_mirror_may_have_another_name(site, url, file, tmp_path):
    place = tmp_path / "mirror/there.org/other.tgz"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    options = ["--mirrored", "there.org/other.tgz"]
    mirror = tmp_path / "mirror"
    assert str(place) in succeeds(download(url, file, *options, DATA_MIRROR=mirror))
    assert is_there(file) and site.requests == []


def test_a_mirror_without_the_file(site, url, file, tmp_path):
    for mirror in (tmp_path, site.address + "/mirror"):
        done = download(url, file, DATA_MIRROR=mirror)
        succeeds(done)
        lines = f"DATA_MIRROR {mirror} does not have corpus.tgz: trying {url}\n"
        assert done.stderr == lines and is_there(file)
        file.unlink()
    host = site.address.removeprefix("http://")
    site.errors[f"/locked/{host}{NAME}"] = [403]
    done = download(url, file, DATA_MIRROR=site.address + "/locked")
    assert succeeds(done) and is_there(file)
    assert "HTTP 403 Forbidden" in done.stderr and done.stderr.endswith(f": trying {url}\n")


def test_a_mirror_with_a_bad_file(url, file, tmp_path):
    bad = tmp_path / "corpus.tgz"
    bad.write_bytes(b"other")
    end = "the download was deleted, fix the mirror or unset DATA_MIRROR"
    wanted = f"{bad} has sha256 {OTHER}, not {SHA256}: {end}"
    fails(download(url, file, DATA_MIRROR=tmp_path), wanted)
    assert left(file) == [] and bad.read_bytes() == b"other"


def test_two_downloads_of_a_file_take_turns(site, url, file):
    site.cuts[NAME] = [50_000]
    command = [sys.executable, PREP / "fetch.py", url, file, "--sha256", SHA256]
    both = [subprocess.Popen(list(map(str, command)), env=environment()) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert is_there(file) and site.sent[NAME] == len(CONTENT)


def test_checksums_from_a_list(site, url, file, tmp_path):
    sums, host = tmp_path / "sums", site.address.removeprefix("http://")
    sums.write_text(f"{OTHER}  elsewhere.org{NAME}\n{SHA256}  {host}{NAME}\n")
    succeeds(download(url, file, "--checksums", sums))
    assert is_there(file)
    wanted = f"{sums} has no line for {host}/none: add its sha256"
    fails(download(site.address + "/none", file, "--checksums", sums), wanted)


BAD = "3f786850e387550fdab836ed7e6dc881de23001b"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--sha256", BAD], f"--sha256 must have 64 hexadecimal digits, got {BAD!r}"),
        (["--md5", "x" * 32], f"--md5 must have 32 hexadecimal digits, got {'x' * 32!r}"),
        (["--sha256", ""], "--sha256 must have 64 hexadecimal digits, got ''"),
    ],
)
def test_what_can_be_no_checksum(options, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["fetch.py", "https://x/y", "file", *options])
    with pytest.raises(SystemExit):
        fetch.parse_args()
    assert capsys.readouterr().err == f"error: {message}: see --help\n"


def test_lists_of_checksums(tmp_path):
    sums = tmp_path / "sums"
    sums.write_text(f"{OTHER}  a\n{SHA256.upper()} *b c\n{BAD}  d\n")
    assert fetch.pinned("a", sums) == ("sha256", OTHER)
    assert fetch.pinned("b c", sums) == ("sha256", SHA256)
    with pytest.raises(UserError) as error:
        fetch.pinned("d", sums)
    assert str(error.value) == (
        f"{sums}, line 3: {BAD!r} is not a sha256 of 64 hexadecimal digits: make the list "
        "with sha256sum"
    )
    sums.write_bytes(b"\n\xff")
    with pytest.raises(UserError, match="sums, line 2, byte 1: not UTF-8"):
        fetch.pinned("d", sums)


def test_a_folder_in_the_place_of_a_file(file):
    file.mkdir(parents=True)
    with pytest.raises(UserError, match=f"^{file} is not a regular file: delete it and run again"):
        fetch.fetch("https://host.invalid/x", file, ("sha256", SHA256))


def fake_apt(folder, script):
    folder.mkdir()
    program = folder / "apt-get"
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_packages_come_from_a_mirror_or_apt(file, tmp_path):
    package, deb = "apt:text=1.0", file.with_name("text_1.0_all.deb")
    script = "import sys\nopen(sys.argv[3].replace('=', '_') + '_all.deb', 'w').write('deb')\n"
    path = fake_apt(tmp_path / "bin", script)
    succeeds(download(package, deb, "--sha256", hashlib.sha256(b"deb").hexdigest(), PATH=path))
    assert left(deb) == [deb.name] and deb.read_text() == "deb"
    deb.rename(tmp_path / deb.name)
    options = ("--sha256", sha256(tmp_path / deb.name))
    done = download(package, deb, *options, DATA_MIRROR=tmp_path, PATH="")
    assert str(tmp_path / deb.name) in succeeds(done)


def test_packages_that_cannot_be_had(file, tmp_path):
    deb = file.with_name("text_1.0_all.deb")
    mend = f"run apt-get update, or get {deb.name} from Debian and put it into {deb.parent}"
    begin = "apt-get download text=1.0"
    fails(download("apt:text=1.0", deb, PATH=""), f"{begin}: apt-get was not found: {mend}")
    path = fake_apt(tmp_path / "bin", "raise SystemExit('W: old\\nE: Unable to locate it')")
    fails(download("apt:text=1.0", deb, PATH=path), f"{begin}: Unable to locate it: {mend}")
    assert left(deb) == []


def test_mistakes_are_one_line(url, file, tmp_path):
    wanted = (
        "'ftp://x' is not a valid address: begin it with http, https, file, apt or pip: see --help"
    )
    fails(download("ftp://x", file), wanted, code=2)
    (tmp_path / "download").write_text("")
    message = f"{file.parent}: File exists: check that it can be read and written"
    fails(download(url, file), message)
