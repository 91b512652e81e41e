"""Pipes in and out: input that is not text, and readers that have seen enough."""

import pytest
from commands import GENERATION
from launching import bash, run

pytest_plugins = ("commands",)


@pytest.mark.parametrize("by", ["--input", "stdin"])
def test_bytes_that_are_no_text(corpus, trained, tmp_path, by):
    text = tmp_path / "text"
    text.write_bytes(b"a1 a2\na3 \xff a4\n")
    command = [
        *("interactive", corpus, *GENERATION, "--path", trained["floater"][0]),
        *("--source-lang", "de", "--target-lang", "en"),
    ]
    with text.open() as file:
        result = run(*command, "--input", text) if by == "--input" else run(*command, stdin=file)
    name = text if by == "--input" else "standard input"
    assert result.returncode == 1 and "Traceback" not in result.err
    message = (
        f"error: {name}, line 2, byte 4: 0xff is not UTF-8: convert it, for example with iconv"
    )
    assert result.last_error_line == message
    assert bool(result.hypotheses()) == (by == "stdin")


def test_readers_that_have_seen_enough(corpus, trained):
    checkpoint = trained["floater"][0]
    generate = ["generate", corpus, *GENERATION, "--path", checkpoint]
    commands = {
        f"fairseq-{' '.join(map(str, generate))}": "S-",
        f"floater inspect {checkpoint}": "checkpoint",
    }
    for command, begin in commands.items():
        done = bash("-c", f"{command} | head -n 1")
        assert done.stdout.startswith(begin)
        assert "roken pipe" not in done.stderr and "BrokenPipe" not in done.stderr
        assert "error" not in done.stderr and "Traceback" not in done.stderr
