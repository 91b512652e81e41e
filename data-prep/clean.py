"""Drop the pairs that Moses's clean-corpus-n.perl drops: too short, too long, or too unequal.

    python data-prep/clean.py tok.de tok.en clean.de clean.en --max 175 --ratio 1.5 \\
        raw.de raw-clean.de  raw.en raw-clean.en ...

SOURCE and TARGET are text cut into words; the kept lines are written with single spaces between
words.  Each further FROM is copied to the TO beside it, byte for byte, without the dropped lines.
Only "\\n" ends a line.  The bars that Moses uses for factors are ordinary text here: its tokeniser
leaves none.
"""

import argparse
import sys
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

import regex
from stages import Parser, UserError, decode, report_errors, within
from whole import written

LONGEST = 1000  # characters of a word

SPACE = regex.compile(r"\s+")  # the same as Perl's, unlike that of re


def fits(line: str, args: argparse.Namespace) -> bool:
    words = line.split(" ") if line else []
    return args.min <= len(words) <= args.max and max(map(len, words)) <= LONGEST


def keeps(lines: list[str], args: argparse.Namespace) -> bool:
    """True if a pair is kept; its words must be separated by single spaces, with none around."""
    few, many = sorted(line.count(" ") + 1 for line in lines)
    return all(fits(line, args) for line in lines) and many / few <= args.ratio


def clean(args: argparse.Namespace) -> tuple[int, int]:
    """Write the pairs that are kept, and return their number and the number of all pairs."""
    kept = number = 0
    with ExitStack() as stack:
        inputs = [stack.enter_context(path.open("rb")) for path in args.inputs]
        outputs = [stack.enter_context(written(path)) for path in args.outputs]
        for number, raws in enumerate(map(list, zip_longest(*inputs)), 1):
            if None in raws:
                names = ", ".join(map(str, args.inputs))
                raise UserError(f"not all files reach line {number:,}: {names}: make them parallel")
            lines = [decode(raw, path, number) for raw, path in zip(raws[:2], args.inputs)]
            lines = [SPACE.sub(" ", line).strip(" ") for line in lines]
            if keeps(lines, args):
                kept += 1
                raws[:2] = [f"{line}\n".encode() for line in lines]
                for output, raw in zip(outputs, raws, strict=True):
                    output.write(raw)
    return kept, number


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add, words = parser.add_argument, within(int, 1, 1_000_000)
    for name in ("SOURCE", "TARGET", "OUT_SOURCE", "OUT_TARGET"):
        add(name.lower(), type=Path, metavar=name)
    add("files", nargs="*", type=Path, metavar="FROM TO", help="files to filter alike")
    add("--min", type=words, default=1, help="fewest words on either side (%(default)s)")
    add("--max", type=words, required=True, help="most words on either side")
    ratio = "most words on the longer side per word on the shorter"
    add("--ratio", type=within(float, 1, 1_000_000), required=True, help=ratio)
    args = parser.parse_intermixed_args()
    if len(args.files) % 2:
        parser.error(f"FROM and TO go in pairs, but there are {len(args.files)} of them")
    args.inputs = [args.source, args.target, *args.files[::2]]
    args.outputs = [args.out_source, args.out_target, *args.files[1::2]]
    return args


def run(args: argparse.Namespace) -> None:
    kept, total = clean(args)
    if not kept:
        limits = f"--min {args.min} --max {args.max} --ratio {args.ratio:g}"
        raise UserError(f"{limits} leave none of {total:,} pairs of {args.source}: widen them")
    print(f"kept {kept:,} of {total:,} pairs")


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
