"""The example service is started as its page says, and asked over HTTP."""

import html
import importlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from commands import GENERATION
from conftest import make_model
from launching import environment, succeed
from places import ROOT

from fairseq_floater.checkpoints.export import Lengths
from fairseq_floater.checkpoints.export.huggingface.model import build_exported

pytest_plugins = ["commands"]

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

SERVE = ROOT / "examples" / "serve"


@pytest.fixture(scope="module")
def service(corpus, trained, tmp_path_factory):
    """Run the service on an exported model, and yield its address."""
    place = tmp_path_factory.mktemp("service")
    (place / "data").mkdir()
    (place / "data/bin").symlink_to(corpus)
    (place / "data/corpus.json").write_text(json.dumps({"source": "de", "target": "en"}))
    export = ["floater", "export", "--to", "huggingface", trained["floater"][0], place / "model"]
    succeed(*export, "--data", place / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {"HF_HOME": place / "home", "HF_HUB_OFFLINE": 1, "MODEL": place / "model"}
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(SERVE), "--port", str(port)]
    log = (place / "log").open("w")
    process = subprocess.Popen([*command, "app:app"], env=environment(**home), stderr=log)
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(address)
            break
        except OSError:
            assert process.poll() is None, (place / "log").read_text()
            time.sleep(0.1)
    yield address
    process.terminate()
    assert process.wait(timeout=30) in (0, -15)
    log.close()


def ask(address, content):
    """Send content as JSON, or bytes as they are; return the status and the answer."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/translate", body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_many_at_once_get_what_each_gets_alone(service, corpus, trained):
    search = ["--path", trained["floater"][0], "--beam", 4, "--max-len-a", 0, "--max-len-b", 400]
    generated = succeed("generate", corpus, *GENERATION, *search)
    sources = [text for _, text in sorted(generated.lines("S").items())]
    wanted = [text for _, (_, text) in sorted(generated.hypotheses().items())]
    with ThreadPoolExecutor(len(sources)) as pool:
        answers = list(pool.map(lambda text: ask(service, {"text": text}), sources))
    assert [status for status, _ in answers] == [200] * 12
    assert [answer["translation"] for _, answer in answers] == wanted
    for (_, answer), source in zip(answers, sources):
        assert answer["source"] == source.split()
        assert answer["target"] == answer["translation"].split()
        assert len(answer["attention"]) == len(answer["target"])
        for shares in answer["attention"]:  # the rest is on the end
            assert len(shares) == len(answer["source"]) and 0 < sum(shares) <= 1.001


BAD = {
    "empty": ({"text": " \n"}, 400, "text is empty: send something to translate"),
    "long": ({"text": "a" * 100_000}, 413, "text has 100,000 characters: send 5,000 at most"),
    "number": ({"text": 3}, 422, 'send {"text": "..."} as JSON'),
    "other": ({"words": "a"}, 422, 'send {"text": "..."} as JSON'),
    "no JSON": (b"text", 422, 'send {"text": "..."} as JSON'),
    "half": (b'{"text": "\\ud800"}', 400, "text has half a character"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_text_gets_one_line(name, service):
    content, wanted, line = BAD[name]
    status, answer = ask(service, content)
    assert status == wanted and answer["error"].startswith(line) and "\n" not in answer["error"]


def test_one_bad_text_fails_alone(monkeypatch):
    """Other texts of the same batch may come from other users."""
    monkeypatch.syspath_prepend(SERVE)
    app = importlib.import_module("app")

    class Translator(app.Translator):
        def __init__(self):
            pass

        def batch(self, texts):
            if any(len(text) > 9 for text in texts):
                raise ValueError("too long")
            return [text.upper() for text in texts]

    one, bad, two = Translator().each_or_why_not(["one", "a very long one", "two"])
    assert (one, str(bad), two) == ("ONE", "too long", "TWO")


class Words:
    """A tokenizer of numbers."""

    pad_token_id, unk_token_id, all_special_ids = 1, 3, [0, 1, 2, 3]
    words = {"source": [str(number) for number in range(40)]}

    def __call__(self, texts, **_):
        ids = torch.tensor([[*map(int, text.split()), 2] for text in texts])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def decode(self, row, **_):
        return " ".join(self.convert_ids_to_tokens(row))

    def convert_ids_to_tokens(self, ids):
        return [str(int(number)) for number in ids]


def test_a_translation_may_fill_a_learned_table(monkeypatch):
    monkeypatch.syspath_prepend(SERVE)
    translator = object.__new__(importlib.import_module("app").Translator)
    learned = {"position_encoder": "learned", "position_blocks": "input"}
    model = make_model(**learned, max_source_positions=9, max_target_positions=6)
    translator.model = build_exported(model, Lengths(9, 6))
    searched = translator.model.generation_config
    searched.suppress_tokens, searched.min_new_tokens = [0, 1, 3], 5  # it ends where the table does
    translator.tokenizer, translator.most_subwords = Words(), 6
    (answer,) = translator.batch(["5 6 7"])
    assert len(answer["target"]) == len(answer["attention"]) == 5  # the sixth is the end
    assert [len(shares) for shares in answer["attention"]] == [3] * 5


def test_the_page(service):
    with urllib.request.urlopen(service) as answer:
        page = answer.read().decode()
    assert page == (SERVE / "page.html").read_text("utf-8") and "<textarea" in page


def browse(address, text, profile):
    """Return the page after a browser has run its script on a text."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=60000", "--dump-dom"]
    command.append(f"{address}/?{urllib.parse.urlencode({'text': text})}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not BROWSER, reason="needs a browser: apt-get install chromium")
def test_the_page_in_a_browser(service, tmp_path):
    """It shows a translation and its alignment, a cell per pair of words; or an error instead."""
    text = "w1 w2 <b>w3</b>"
    _, answer = ask(service, {"text": text})
    page = browse(service, text, tmp_path)
    shown = html.unescape(re.search(r'id="translation"[^>]*>(.*?)</p>', page, re.S)[1])
    assert shown == answer["translation"] and '<p id="error" role="alert"></p>' in page
    words = re.findall(r"<th>(.*?)</th>", page)
    assert list(map(html.unescape, words)) == ["", *answer["source"], *answer["target"]]
    shades = re.findall(r'<td title="(.*?)" style="background: rgba\(', page)
    attention = [share for shares in answer["attention"] for share in shares]
    assert [float(shade) for shade in shades] == pytest.approx(attention, abs=0.0051)

    page = browse(service, " ", tmp_path)
    assert 'role="alert">text is empty: send something to translate</p>' in page
    assert "<td" not in page and 'aria-live="polite"></p>' in page
