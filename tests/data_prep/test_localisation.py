"""The corpus of interface translations, made by the real command line from a tiny wheel."""

import json
import re
import zipfile

import corpora
import localisation
import pytest
from corpora import sha256, succeeds, tree

WHEEL = "homeassistant-2025.4.4-py3-none-any.whl"
BASE = "homeassistant/components/{}/translations/{}.json"
SPLITS = ("train", "valid", "test")
VERBS = {"open": "öffne", "close": "schließe", "lock": "sperre", "watch": "beobachte"}
PLACES = {"upper": "obere", "lower": "untere", "inner": "innere", "outer": "äußere"}
THINGS = {"door": "Tür", "gate": "Pforte", "blind": "Jalousie", "lamp": "Leuchte"}


def sentences(side):
    """Return 64 plain sentences; side 0 is English, side 1 German."""
    words = [[(k, v)[side] for k, v in table.items()] for table in (VERBS, PLACES, THINGS)]
    the = ("the", "die")[side]
    return [f"{v} {the} {p} {t} now" for v in words[0] for p in words[1] for t in words[2]]


def texts(side):
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
    files = {
        BASE.format("lock", "en"): texts(0),
        BASE.format("lock", "de"): texts(1),
        BASE.format("lock", "pt-BR"): {"config": {"a": "Abra a porta agora"}},
        BASE.format("twin", "en"): {"a": "Try it again later", "b": "Try it again later"},
        BASE.format("twin", "de"): {"a": "Später nochmals", "b": "Später erneut versuchen"},
        BASE.format("third", "en"): {"a": "Try it again later"},
        BASE.format("third", "de"): {"a": "Später erneut versuchen"},
        BASE.format("third", "sensor.en"): {"a": "A platform text here"},
        BASE.format("third", "sensor.de"): {"a": "Ein Text der Plattform"},
        "homeassistant-2025.4.4.dist-info/RECORD": "",
    } | dict(extra)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return path


def run(wheel, out, *options, **variables):
    few = ("--valid=6", "--test=6")
    return corpora.run("localisation.py", wheel, out, *few, *options, **variables)


def read(out, name, language):
    return lines(out / f"{name}.{language}")


def pairs(out, name):
    return list(zip(read(out, name, "en"), read(out, name, "de"), strict=True))


def lines(path):
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def log(out, stage):
    return (out / f".stages/{stage}.log").read_text()


def everything(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def fails(done, *words, code=1):
    """Check the exit code, and that stderr is one line with these words and no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return make_wheel(tmp_path_factory.mktemp("wheel") / WHEEL)


@pytest.fixture(scope="module")
def made(wheel, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    return out, succeeds(run(wheel, out))


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


def test_variants_stay_together_wherever_the_sentence_falls():
    group = [("Set light 1 to {a}.", "Licht {a}"), ("set light 2 to {b}!", "das Licht {b}")]
    others = [(f"Turn {word} on", f"{word} ein") for word in ("ab", "cd", "ef", "gh", "ij", "kl")]
    for valid in range(1, 6):
        parts, left_out = localisation.split_pairs(sorted(group + others), valid, 1)
        homes = [name for name in SPLITS if set(parts[name]) & set(group)]
        assert len(homes) == 1
        assert left_out == (homes != ["train"])
    shared = [("Try again", "Nochmal"), ("Once more", "Nochmal")]
    parts, _ = localisation.split_pairs(sorted(shared + others), 3, 3)
    assert set(parts["train"]) == set(shared)


def test_two_runs_are_byte_equal(made, wheel, tmp_path):
    succeeds(run(wheel, tmp_path, PYTHONHASHSEED="7"))
    assert everything(tmp_path) == everything(made[0])


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--source=xx", 1, ["'xx'", "choose from de en pt-BR"]),
        ("--target=en", 2, ["'en'", "choose two languages"]),
        ("--valid=80", 1, ["--valid 80", "lower them"]),
        ("--test=-1", 2, ["--test", "'-1'"]),
        ("--min-words=many", 2, ["--min-words", "'many'"]),
        ("--min-words=9 --max-words=8", 2, ["--min-words 9", "--max-words 8"]),
        ("--test=0", 2, ["--test", "'0'", "from 1 to"]),
        ("--max-ratio=nan", 2, ["--max-ratio", "'nan'"]),
        ("--colour", 2, ["--colour", "--help"]),
    ],
)
def test_bad_options_get_one_line(wheel, tmp_path, options, code, words):
    fails(run(wheel, tmp_path, *options.split()), *words, code=code)


def test_bad_wheels_get_one_line(wheel, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other.whl"
    fails(run(other, out), str(other), "No such file")
    other.write_text("not an archive")
    fails(run(other, out), str(other), "damaged", "delete it")

    content = bytearray(wheel.read_bytes())
    content[120:160] = bytes(40)  # within the first member
    other.write_bytes(content)
    fails(run(other, out), str(other), "damaged", "delete it")

    broken = "homeassistant/components/broken/translations/en.json"
    fails(run(make_wheel(other, {broken: '{"a": '}), out), broken, "not JSON")

    large = BASE.format("large", "en")
    fails(run(make_wheel(other, {large: " " * 10**8}), out), str(other), "more than the allowed")

    assert set(tmp_path.iterdir()) == {other}


def test_names_that_lead_elsewhere_are_not_followed(wheel, tmp_path):
    """Nothing is extracted, so they are as good as any other name that is not of a translation."""
    names = ["../../evil.json", "/evil.json", "homeassistant/components/../translations/a.json"]
    other = make_wheel(tmp_path / "other.whl", dict.fromkeys(names, "{}"))
    for place, out in ((wheel, "plain"), (other, "out")):
        succeeds(run(place, tmp_path / out))
    assert tree(tmp_path / "out") == tree(tmp_path / "plain")
    assert {path.name for path in tmp_path.iterdir()} == {"other.whl", "out", "plain"}


def test_out_that_is_a_file_gets_one_line(wheel, tmp_path):
    (tmp_path / "out").write_text("")
    fails(run(wheel, tmp_path / "out"), f"{tmp_path / 'out'}: File exists")


def test_help_gives_every_default():
    shown = succeeds(corpora.run("localisation.py", "--help"))
    for default in ("(en)", "(de)", "(3)", "(100)", "(3.0)", "(500)"):
        assert default in shown


def many(side):
    """Return 1,331 sentences, no two of which have the same words in another order."""
    names = [(f"{a}{b}a", f"{b}{a}o")[side] for a in "bdfghklmnpr" for b in "a"]
    verb, noun = (("Turn", "light"), ("Schalte", "Leuchte"))[side]
    return [f"{verb} {a} the {noun} {b} {c}" for a in names for b in names for c in names]


def whole(folder, *options, **variables):
    """Run localisation.sh, with a list of checksums for the wheel in ``folder``."""
    sums = folder / "sums"
    sums.write_text(f"{sha256(folder / WHEEL)}  {WHEEL}\n")
    options = ("--out", folder / "data/corpus", "--size", 60, "--checksums", sums, *options)
    return corpora.run("localisation.sh", *options, **variables)


def redone(out):
    return re.findall(r"^(\w+): working \.\.\.$", out, re.MULTILINE)


def test_a_whole_preparation(tmp_path):
    """From a mirror; skipped; with another language; and without anything to be had."""
    french = BASE.format("many", "fr"), {"only": "Rien d'autre ici"}
    extra = [(BASE.format("many", x), dict(enumerate(many(n)))) for n, x in enumerate(("en", "de"))]
    make_wheel(tmp_path / WHEEL, [*extra, french])
    mirror, out = {"DATA_MIRROR": str(tmp_path)}, tmp_path / "data/corpus"
    done = succeeds(whole(tmp_path, **mirror))
    stages = ["raw", "model", "subwords", "describe", "binarise"]
    assert redone(done) == stages and "pairs found under one key" in log(out, "raw")
    names = sorted(f"{split}.{language}" for split in SPLITS for language in ("en", "de"))
    assert tree(out / "raw") == names == tree(out / "bpe")
    assert [len(read(out / "raw", split, "en")) for split in SPLITS[1:]] == [500, 500]
    for name in names:
        for text, pieces in zip(lines(out / "raw" / name), lines(out / "bpe" / name), strict=True):
            # what fairseq's --remove-bpe sentencepiece does
            assert pieces.replace(" ", "").replace("\u2581", " ").strip() == text
    assert json.loads((out / "corpus.json").read_text())["subword"] == "sentencepiece"
    assert done.splitlines()[-2].split()[:2] == ["test", "500"]

    made = everything(out)
    assert redone(succeeds(whole(tmp_path, **mirror))) == [] and everything(out) == made
    done = whole(tmp_path, "--target", "fr", **mirror)
    fails(done, "raw: --test 500 --valid 500 leave nothing", str(out / ".stages/raw.log"))
    fails(whole(tmp_path, "--target", "en", **mirror), "are both en: choose two languages")
    assert redone(succeeds(whole(tmp_path, **mirror))) == ["raw"] and everything(out) == made
    (tmp_path / "data/download/localisation" / WHEEL).unlink()
    nowhere = {"DATA_MIRROR": "", "PIP_NO_INDEX": "1"}
    fails(whole(tmp_path, **nowhere), "pip download homeassistant==2025.4.4", WHEEL)
