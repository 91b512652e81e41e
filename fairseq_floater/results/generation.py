"""Read the output of ``fairseq-generate``: hypotheses, and whether each ended by itself."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional

from fairseq_floater.errors import UserError


@dataclass(frozen=True)
class Translation:
    """The best hypothesis of one sentence."""

    text: str  #: subwords joined by fairseq (``--remove-bpe``), otherwise as generated
    length: int  #: tokens generated, without the end of the sentence
    ended: bool  #: whether it ended by itself, rather than being cut off


def read_lines(path: Path) -> List[str]:
    """Return the lines of a corpus file; only a line feed ends one, as for fairseq and Moses.

    Raises:
        UserError: if there is no such file, or it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that makes it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}): prepare it again") from None


def read_generation(log: Path, longest: Optional[int] = None) -> List[Translation]:
    """Read the log of ``fairseq-generate`` into translations, in the order of the corpus.

    Args:
        log: the log, which includes the options of the command.
        longest: the longest translation that the model can write, in tokens; None if only
            ``--max-len-b`` limits it.

    Raises:
        UserError: if the log is incomplete, or the length limit depends on the source.
    """
    texts: Dict[int, str] = {}
    lengths: Dict[int, int] = {}
    limit = None
    for line in read_lines(log):
        if found := re.match(r"([HP])-(\d+)\t(.*)", line):
            kind, number, rest = found[1], int(found[2]), found[3]
            if kind == "H":
                texts.setdefault(number, rest.partition("\t")[2])
            else:
                lengths.setdefault(number, len(rest.split()) - 1)
        elif limit is None and "'max_len_b'" in line:
            limit = _length_limit(line, log)
    count = len(texts)
    if not count or sorted(texts) != list(range(count)) or texts.keys() != lengths.keys():
        raise UserError(f"{log} is incomplete ({count} translations): delete it and generate again")
    if limit is None:
        raise UserError(f"{log} does not show its options: generate again without --quiet")
    limit = limit if longest is None else min(limit, longest)
    return [Translation(texts[i], lengths[i], lengths[i] < limit) for i in range(count)]


def _length_limit(line: str, log: Path) -> int:
    slope = re.search(r"'max_len_a': ([\d.]+)", line)
    if slope and float(slope[1]):
        raise UserError(
            f"{log} was made with --max-len-a {slope[1]}, which makes the limit depend on the "
            "batch: generate with --max-len-b alone"
        )
    return int(re.findall(r"'max_len_b': (\d+)", line)[0])
