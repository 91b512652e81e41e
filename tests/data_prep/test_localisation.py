"""The corpus of interface translations, made by the real command line from a tiny wheel."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import zipfile

import pytest
from places import PREP

PROGRAM = PREP / "localisation.py"
WHEEL = "homeassistant-2025.4.4-py3-none-any.whl"
INFO = "homeassistant-2025.4.4.dist-info"
SPLITS = ("train", "valid", "test")
VERBS = {"open": "öffne", "close": "schließe", "lock": "sperre", "watch": "beobachte"}
PLACES = {"upper": "obere", "lower": "untere", "inner": "innere", "outer": "äußere"}
THINGS = {"door": "Tür", "gate": "Pforte", "blind": "Jalousie", "lamp": "Leuchte"}


def sentences(side):
    """Return 64 plain sentences; side 0 is English, side 1 German."""
    words = [[(k, v)[side] for k, v in table.items()] for table in (VERBS, PLACES, THINGS)]
    the = ("the", "die")[side]
    return [f"{v} {the} {p} {t} now" for v in words[0] for p in words[1] for t in words[2]]


def tree(side):
    """Return nested texts of one language; each of those beside ``plain`` tests one rule."""
    return {
        "config": {"step": {"plain": dict(enumerate(sentences(side)))}},
        "variants": {
            "one": ("Set light 1 to {level}.", "Stelle Licht 1 auf {level}.")[side],
            "two": ("set light 22 to {value}", "Stelle das Licht 22 auf {value}")[side],
        },
        "untranslated": "Home Assistant Core",
        "short": ("Two words", "Zwei Wörter")[side],
        "empty": ("Nothing said about this", " \n")[side],
        "blank": ("Connect to {host} now", "Jetzt verbinden")[side],
        "absurd": ("A word or two", "Wort " * 40)[side],
        "untidy": ("Tidy\n this\tcafe\u0301 \u200bup", "Räume dieses Cafe\u0301 \x07auf")[side],
        "marker": ("Say \u2581 it again", "Sag es \u2581 noch einmal")[side],
        ("only_english", "only_german")[side]: "This text has no other side",
        "number": 3,
    }


def make_wheel(path, extra=()):
    """Write a zip laid out as the wheel is: three components, a platform file, three languages."""
    base = "homeassistant/components/{}/translations/{}.json"
    files = {
        base.format("lock", "en"): tree(0),
        base.format("lock", "de"): tree(1),
        base.format("lock", "pt-BR"): {"config": {"a": "Abra a porta agora"}},
        base.format("twin", "en"): {"a": "Try it again later", "b": "Try it again later"},
        base.format("twin", "de"): {"a": "Später nochmals", "b": "Später erneut versuchen"},
        base.format("third", "en"): {"a": "Try it again later"},
        base.format("third", "de"): {"a": "Später erneut versuchen"},
        base.format("third", "sensor.en"): {"a": "A platform text here"},
        base.format("third", "sensor.de"): {"a": "Ein Text der Plattform"},
        f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: homeassistant\nVersion: 2025.4.4\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{INFO}/RECORD": "",
    } | dict(extra)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(out, wheel=None, *options, **env):
    command = [sys.executable, str(PROGRAM), "--out", str(out), "--valid=6", "--test=6"]
    command += ["--vocab-size=80"]
    if wheel:
        command += ["--wheel", str(wheel), "--sha256", sha256(wheel)]
    command += map(str, options)
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | env
    )


def read(out, name, language, kind="raw"):
    return (out / kind / f"{name}.{language}").read_text("utf-8").removesuffix("\n").split("\n")


def pairs(out, name):
    return list(zip(read(out, name, "en"), read(out, name, "de"), strict=True))


def everything(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def fails(done, *words, code=1):
    """Check the exit code, and that stderr is one line with these words and no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.fixture(scope="module")
def program():
    """The program as a module, for cases that the command line does not allow."""
    spec = importlib.util.spec_from_file_location("localisation", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return make_wheel(tmp_path_factory.mktemp("wheel") / WHEEL)


@pytest.fixture(scope="module")
def made(wheel, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    done = run(out, wheel)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_pairs_are_texts_under_the_same_key(made):
    out, _ = made
    found = {pair for name in SPLITS for pair in pairs(out, name)}
    assert set(zip(sentences(0), sentences(1), strict=True)) <= found
    assert ("A platform text here", "Ein Text der Plattform") in found
    assert ("Tidy this café up", "Räume dieses Café auf") in found
    assert ("Say it again", "Sag es noch einmal") in found
    assert ("Try it again later", "Später erneut versuchen") in found  # used twice, the other once
    variants = {pair for pair in found if pair[0].casefold().startswith("set light")}
    assert len(found) == 64 + 4 + len(variants) and variants


def test_summary_counts_what_each_rule_dropped(made):
    rows = dict(reversed(line.split(maxsplit=1)) for line in made[1].splitlines() if line.strip())
    assert rows["pairs found under one key"] == "77"
    for rule in ("empty", "untranslated", "placeholders differ", "source under 3 words"):
        assert rows[rule] == "-1", rule
    for rule in ("repeated", "lengths differ", "a commoner translation exists"):
        assert rows[rule] == "-1", rule


def test_splits_share_no_sentence_nor_variant(made):
    out, _ = made
    sizes = [len(pairs(out, name)) for name in SPLITS]
    assert sizes[1:] == [6, 6]
    for side in (0, 1):
        sets = [{pair[side] for pair in pairs(out, name)} for name in SPLITS]
        assert len(set().union(*sets)) == sum(map(len, sets))
    homes = [n for n in SPLITS if any("light" in s.split() for s in read(out, n, "en"))]
    assert len(homes) == 1


def test_variants_stay_together_wherever_the_sentence_falls(program):
    group = [("Set light 1 to {a}.", "Licht {a}"), ("set light 2 to {b}!", "das Licht {b}")]
    others = [(f"Turn {word} on", f"{word} ein") for word in ("ab", "cd", "ef", "gh", "ij", "kl")]
    for valid in range(1, 6):
        parts, left_out = program.split_pairs(sorted(group + others), valid, 1)
        homes = [name for name in SPLITS if set(parts[name]) & set(group)]
        assert len(homes) == 1
        assert left_out == (homes != ["train"])
    shared = [("Try again", "Nochmal"), ("Once more", "Nochmal")]
    parts, _ = program.split_pairs(sorted(shared + others), 3, 3)
    assert set(parts["train"]) == set(shared)


def test_pieces_join_to_the_sentence(made):
    out, _ = made
    for name in SPLITS:
        for language in ("en", "de"):
            for text, pieces in zip(
                read(out, name, language), read(out, name, language, "bpe"), strict=True
            ):
                # what fairseq's --remove-bpe sentencepiece does
                assert pieces.replace(" ", "").replace("\u2581", " ").strip() == text


def test_two_runs_are_byte_equal(made, wheel, tmp_path):
    assert run(tmp_path, wheel, PYTHONHASHSEED="7").returncode == 0
    assert everything(tmp_path) == everything(made[0])


def redone(done):
    """Return the stages that a run did not skip."""
    assert done.returncode == 0, done.stderr
    return [name for name in ("corpus", "pieces") if f"{name}: working" in done.stdout]


def test_a_stage_is_skipped_until_something_changes(wheel, tmp_path):
    assert redone(run(tmp_path, wheel)) == ["corpus", "pieces"]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert redone(run(tmp_path, wheel)) == []
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert redone(run(tmp_path, wheel, "--vocab-size=70")) == ["pieces"]
    assert redone(run(tmp_path, wheel, "--vocab-size=70", "--subword=bpe")) == ["pieces"]
    assert redone(run(tmp_path, wheel, "--test=7")) == ["corpus", "pieces"]
    assert len(read(tmp_path, "test", "en", "bpe")) == 7


def test_damage_is_mended(made, wheel, tmp_path):
    run(tmp_path, wheel)
    (tmp_path / "raw" / "test.de").unlink()
    with (tmp_path / "bpe" / "valid.en").open("a") as file:
        file.write("one line more\n")
    assert redone(run(tmp_path, wheel)) == ["corpus", "pieces"]
    assert everything(tmp_path) == everything(made[0])
    (tmp_path / "manifest.json").write_text('{"corpus": {"inp')
    assert redone(run(tmp_path, wheel)) == ["corpus", "pieces"]
    assert everything(tmp_path) == everything(made[0])


def test_another_language_leaves_nothing_of_the_last(wheel, tmp_path):
    run(tmp_path, wheel)
    options = ("--target=pt-BR", "--source=de")
    fails(run(tmp_path, wheel, *options), "--valid 6", "lower them")
    assert (tmp_path / "raw" / "train.en").exists()
    assert redone(run(tmp_path, wheel, "--source=de", "--target=en")) == ["corpus", "pieces"]
    french = {"homeassistant/components/lock/translations/fr.json": tree(1)}
    other = make_wheel(tmp_path / "other" / WHEEL, french)
    assert redone(run(tmp_path, other, "--target=fr")) == ["corpus", "pieces"]
    left = {path.name for kind in ("raw", "bpe") for path in (tmp_path / kind).iterdir()}
    assert left == {f"{name}.{language}" for name in SPLITS for language in ("en", "fr")}


def test_mirror_folder(made, wheel, tmp_path):
    done = run(tmp_path, None, "--sha256", sha256(wheel), DATA_MIRROR=str(wheel.parent))
    assert done.returncode == 0, done.stderr
    assert everything(tmp_path) == everything(made[0])


def test_mirror_address_is_downloaded_once(wheel, tmp_path):
    options = ("--sha256", sha256(wheel), "--work", tmp_path / "work")
    mirror = {"DATA_MIRROR": wheel.parent.as_uri() + "/", "PIP_NO_INDEX": "1"}
    first = run(tmp_path / "a", None, *options, **mirror)
    assert first.returncode == 0 and "downloading file:" in first.stdout, first.stderr
    assert [path.name for path in (tmp_path / "work").iterdir()] == [WHEEL]
    second = run(tmp_path / "b", None, *options, DATA_MIRROR="", PIP_NO_INDEX="1")
    assert second.returncode == 0 and "downloading" not in second.stdout, second.stderr


def test_no_wheel_to_be_had(tmp_path):
    done = run(tmp_path, DATA_MIRROR=str(tmp_path), PIP_NO_INDEX="1")
    fails(done, "cannot get homeassistant==2025.4.4", "--wheel")
    assert not list((tmp_path / "download").iterdir())


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--source=xx", 1, ["'xx'", "choose from de en pt-BR"]),
        ("--target=en", 2, ["'en'", "choose two languages"]),
        ("--vocab-size=5000", 1, ["--vocab-size 5000", "too high", "<="]),
        ("--vocab-size=9", 1, ["--vocab-size 9", "smaller than required"]),
        ("--vocab-size=0", 2, ["--vocab-size", "'0'", "from 1 to"]),
        ("--valid=80", 1, ["--valid 80", "lower them"]),
        ("--test=-1", 2, ["--test", "'-1'"]),
        ("--min-words=many", 2, ["--min-words", "'many'"]),
        ("--min-words=9 --max-words=8", 2, ["--min-words 9", "--max-words 8"]),
        ("--max-ratio=nan", 2, ["--max-ratio", "'nan'"]),
        ("--subword=word", 2, ["--subword", "'word'", "unigram"]),
        ("--sha256=12ab", 1, [WHEEL, "12ab", "delete it and run again"]),
        ("--wheel=/no/such.whl", 1, ["/no/such.whl", "not a file"]),
        ("--colour", 2, ["--colour", "--help"]),
    ],
)
def test_bad_options_get_one_line(wheel, tmp_path, options, code, words):
    fails(run(tmp_path, wheel, *options.split()), *words, code=code)


def test_bad_wheels_get_one_line(wheel, tmp_path):
    fails(run(tmp_path, wheel, "--sha256", "0" * 64), str(wheel), sha256(wheel), "0" * 64, "delete")

    other = tmp_path / "other.whl"
    other.write_text("not an archive")
    fails(run(tmp_path, other), str(other), "corrupt", "delete it")

    content = bytearray(wheel.read_bytes())
    content[120:160] = bytes(40)  # within the first member
    other.write_bytes(content)
    fails(run(tmp_path, other), str(other), "corrupt at homeassistant/components/lock", "delete it")

    broken = "homeassistant/components/broken/translations/en.json"
    fails(run(tmp_path, make_wheel(other, {broken: '{"a": '})), broken, "not JSON")

    for name in (
        "../../evil.json",
        "/evil.json",
        "homeassistant/components/../translations/a.json",
    ):
        fails(run(tmp_path, make_wheel(other, {name: "{}"})), name, "escapes")

    assert set(tmp_path.iterdir()) == {other}


def test_out_that_is_a_file_gets_one_line(wheel, tmp_path):
    out = tmp_path / "out"
    out.write_text("")
    fails(run(out, wheel), str(out), "Not a directory")


def test_unequal_line_counts_are_refused(program, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train.en").write_text("one\ntwo\n")
    (tmp_path / "raw" / "train.de").write_text("eins\n")
    with pytest.raises(program.UserError, match="2 lines but .*train.de has 1 lines: delete"):
        program.read_split(tmp_path, "train", ("en", "de"))


def test_help_gives_every_default():
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--help"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0
    for default in ("(en)", "(de)", "(3)", "(100)", "(3.0)", "(500)", "(unigram)", "(4000)"):
        assert default in done.stdout
