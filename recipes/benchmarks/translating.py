"""Programs that translate with one model: fairseq, and all that the model can be exported to."""

import argparse
import os
import re
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import torch

PLUGIN = Path(__file__).resolve().parents[2] / "fairseq_floater"
FAIRSEQ = "fairseq, with the plugin"

#: takes lines of subwords, a batch size and a number of threads; returns the translations, in
#: subwords, and the seconds they took without loading
Program = Callable[[List[str], int, int], Tuple[List[str], float]]

#: by name: a program, or the reason why there is none
Programs = Dict[str, Union[Program, str]]


def program(name: str, *arguments: object) -> str:
    """Return what a program of this environment prints; raise RuntimeError if it fails.

    The message of the error is the last line that the program wrote to stderr.
    """
    command = [Path(sysconfig.get_path("scripts")) / name, *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    return done.stdout


def fairseq(
    args: argparse.Namespace, checkpoint: Path, *flags: object, beam: Optional[int] = None
) -> Program:
    """Return ``fairseq-interactive``, timed minus the time that its first line alone takes."""
    source, target = (args.corpus[side] for side in ("source", "target"))

    def run(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        command = [
            *("fairseq-interactive", args.data / "bin", "--path", checkpoint, "-s", source),
            *("-t", target, "--beam", beam or args.beam, "--lenpen", args.lenpen, "--min-len", 0),
            *("--max-len-b", args.longest, "--batch-size", batch, "--cpu", *flags),
            *("--buffer-size", max(len(lines), batch)),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        started = time.perf_counter()
        done = subprocess.run(
            [str(Path(sysconfig.get_path("scripts"), str(command[0]))), *map(str, command[1:])],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            env=environment,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        found = {}
        for line in done.stdout.splitlines():
            if line.startswith("H-"):
                number, _, text = line[2:].split("\t")
                found[int(number)] = text
        return [found[number] for number in range(len(lines))], seconds

    def translate(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        translations, seconds = run(lines, batch, threads)
        if args.timed:
            seconds -= run(lines[:1], batch, threads)[1]
        return translations, seconds

    return translate


def onnx(args: argparse.Namespace, folder: Path) -> Program:
    import onnxruntime

    page = (PLUGIN.parent / "docs/export.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    names: Dict[str, Any] = {}
    exec(next(block for block in blocks if "onnxruntime" in block), names)
    greedy = names["Greedy"](folder)

    def translate(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        for name, file in (("encoder", "encoder"), ("step", "decoder_step")):
            session = onnxruntime.InferenceSession(folder / f"{file}.onnx", settings)
            setattr(greedy, name, session)
        return in_batches(lambda part: greedy(part, args.longest), lines, batch)

    return translate


def whole_targets(args: argparse.Namespace, file: Path) -> Program:
    """Return the program of ``--to torch``; it has no cache: each step reads the target so far."""
    logits = torch.export.load(file).module()
    words, target = (args.dictionaries[side] for side in ("source", "target"))

    def greedy(lines: List[str]) -> List[str]:
        ids = [torch.tensor([*map(words.index, line.split()), words.eos()]) for line in lines]
        sources = torch.nn.utils.rnn.pad_sequence(ids, True, words.pad())
        lengths = torch.tensor([len(row) for row in ids])
        found = [""] * len(lines)
        going = torch.arange(len(lines))  # numbers of the lines that have not ended
        written = torch.full((len(lines), 1), target.eos())
        for step in range(args.longest + 1):
            with torch.no_grad():
                following = logits(sources[going], lengths[going], written)[:, -1]
            following[:, target.pad()] = -torch.inf
            if step == 0:
                following[:, target.eos()] = -torch.inf
            chosen = following.argmax(1)
            ended = (chosen == target.eos()) | (step == args.longest)
            for number, row in zip(going[ended].tolist(), written[ended, 1:].tolist()):
                found[number] = " ".join(target[word] for word in row)
            going, written = going[~ended], torch.cat([written, chosen[:, None]], 1)[~ended]
            if not going.numel():
                break
        return found

    def translate(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        torch.set_num_threads(threads)
        return in_batches(greedy, lines, batch)

    return translate


def in_batches(
    translate: Callable[[List[str]], List[str]], lines: List[str], batch: int
) -> Tuple[List[str], float]:
    """Translate ``lines``, those of similar length together; return also the seconds it took."""
    found, started = [""] * len(lines), time.perf_counter()
    for part in by_length(lines, batch):
        for number, text in zip(part, translate([lines[n] for n in part])):
            found[number] = text
    return found, time.perf_counter() - started


def by_length(lines: List[str], batch: int) -> Iterator[List[int]]:
    """Yield batches of the numbers of lines of similar length."""
    order = sorted(range(len(lines)), key=lambda number: len(lines[number].split()))
    for first in range(0, len(order), batch):
        yield order[first : first + batch]


def ctranslate2(args: argparse.Namespace, folder: Path) -> Program:
    import ctranslate2

    def translate(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        translator = ctranslate2.Translator(str(folder), inter_threads=1, intra_threads=threads)
        started = time.perf_counter()
        results = translator.translate_batch(
            [line.split() for line in lines],
            beam_size=args.beam,
            length_penalty=args.lenpen,
            max_decoding_length=args.longest,
            min_decoding_length=0,
            max_input_length=0,  # do not truncate; the default is after 1,024 tokens
            max_batch_size=batch,
        )
        seconds = time.perf_counter() - started
        return [" ".join(result.hypotheses[0]) for result in results], seconds

    return translate


def transformers(args: argparse.Namespace, folder: Path) -> Program:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
    numbers, special = tokenizer.numbers["source"], tokenizer.all_special_ids

    def search(lines: List[str]) -> List[str]:
        ids = [[*(numbers.get(w, 3) for w in line.split()), 2] for line in lines]
        with torch.no_grad():
            written = model.generate(
                **tokenizer.pad({"input_ids": ids}, return_tensors="pt"),
                num_beams=args.beam,
                length_penalty=args.lenpen,
                min_new_tokens=0,
                max_new_tokens=args.longest + 1,
            )
        kept = [[t for t in row if t not in special or t == 3] for row in written.tolist()]
        return [" ".join(tokenizer.convert_ids_to_tokens(row)) for row in kept]

    def translate(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        torch.set_num_threads(threads)
        return in_batches(search, lines, batch)

    return translate


def exported(args: argparse.Namespace, folder: Path) -> Programs:
    """Return by name a ``Program``, or the reason why there is none."""

    def export(to: str, out: Path, *more: object) -> Path:
        data = () if to in ("fairseq", "torch") else ("--data", args.data)
        program("floater", "export", args.checkpoint, out, "--to", to, *data, *more)
        return out

    plugin = ("--user-dir", PLUGIN)
    makers: Dict[str, Callable[[], Program]] = {
        FAIRSEQ: lambda: fairseq(args, args.checkpoint, *plugin),
        "stock fairseq": lambda: fairseq(args, export("fairseq", folder / "stock.pt")),
        "CTranslate2": lambda: ctranslate2(args, export("ctranslate2", folder / "ct2")),
        "CTranslate2, int8": lambda: ctranslate2(
            args, export("ctranslate2", folder / "int8", "--quantization", "int8")
        ),
        "transformers": lambda: transformers(args, export("huggingface", folder / "hf")),
        f"{FAIRSEQ}, greedy": lambda: fairseq(
            args, args.checkpoint, *plugin, "--min-len", 1, beam=1
        ),
        "ONNX Runtime, greedy": lambda: onnx(args, export("onnx", folder / "onnx")),
        "torch program, greedy": lambda: whole_targets(args, export("torch", folder / "whole.pt2")),
    }
    found: Programs = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except RuntimeError as error:
            found[name] = str(error).removeprefix(f"{args.checkpoint} ")
    return found
