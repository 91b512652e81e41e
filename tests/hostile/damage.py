"""Ways to damage a checkpoint: each makes the bytes of a bad file from those of a good one."""

import io
import os
import zipfile
from argparse import Namespace
from functools import partial

import torch
from broken_bytes import flipped, overwritten, truncated

#: values to put in place of a weight, an option, or a part of a checkpoint
VALUES = (
    *(None, True, -1, 0, 3, 10**9, 10**30, -0.5, float("nan"), float("inf"), 1e300, 1e-300),
    *("", "x", "floater", "${x}", [], [1], {}, {"a": 1}, (1, 2), b"x", 2**62),
    *(torch.ones(2), Namespace()),
)


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def flipped_in_the_directory(good, chance, marker):
    """Flip a bit where the archive lists its members and their places."""
    bad = bytearray(good)
    bad[-1 - chance.randrange(len(bad) // 6)] ^= 1 << chance.randrange(8)
    return bytes(bad)


def another_kind_of_file(good, chance, marker):
    return chance.choice((b"", b"PK\3\4", b"text\n" * 9, chance.randbytes(500), bytes(10**5)))


def packed_again(good, chance, marker):
    """Pack an archive as torch does not: compressed, with a part doubled, missing or endless."""
    compression = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        parts = [(info.filename, archive.read(info)) for info in archive.infolist()]
    what = chance.choice(("same", "double", "less", "bomb", "names"))
    place = chance.randrange(len(parts))
    if what == "double":
        parts.append((parts[place][0], chance.randbytes(40)))
    elif what == "less":
        del parts[place]
    elif what == "bomb":
        parts[place] = (parts[place][0], bytes(10**7))
    elif what == "names":
        parts[place] = (chance.choice(("../x", "/x", "a/data.pkl", "x" * 300)), parts[place][1])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return packed.getvalue()


def loaded(good):
    state = torch.load(io.BytesIO(good), weights_only=False)
    return {**state, "model": dict(state["model"])}


def saved(state, old=False):
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def pick(weights, chance, only=""):
    return chance.choice([name for name in weights if only in name])


def other_weight(good, chance, marker, only=""):
    state = loaded(good)
    weights = state["model"]
    name = pick(weights, chance, only)
    weight = weights[name].clone()
    weights[name] = chance.choice(
        (
            lambda: weight.to(torch.complex64),
            lambda: weight.to(torch.int64),
            lambda: weight.to(torch.bool),
            lambda: weight.to(torch.float8_e5m2),
            lambda: weight.to_sparse(),
            lambda: weight.flatten(),
            lambda: weight.unsqueeze(0),
            lambda: weight[:0],
            lambda: weight[..., :-1],
            lambda: torch.zeros(()),
            lambda: torch.ones(1).expand(10**6, 10**6),
            lambda: torch.empty(3, device="meta"),
            lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
            lambda: chance.choice(VALUES),
        )
    )()
    return saved(state, old=False)


def not_finite(good, chance, marker):
    state = loaded(good)
    weights = state["model"]
    name = pick([name for name, weight in weights.items() if weight.is_floating_point()], chance)
    weight = weights[name] = weights[name].clone()
    place = chance.randrange(weight.numel())
    weight.view(-1)[place] = chance.choice((float("nan"), float("inf"), -float("inf")))
    return saved(state)


def missing(good, chance, marker):
    state = loaded(good)
    weights = state["model"]
    del weights[pick(weights, chance)]
    return saved(state)


def renamed(good, chance, marker):
    state = loaded(good)
    weights = state["model"]
    name = pick(weights, chance)
    other = chance.choice(("", 7, name + "x", name.replace("0", "900000"), f"encoder.{name}"))
    weights[other] = weights.pop(name)
    return saved(state)


def other_option(good, chance, marker):
    state = loaded(good)
    altered = vars(state["args"]) if state["cfg"] is None else state["cfg"]["model"]
    if state["cfg"] is not None and chance.random() < 0.2:
        altered = state["cfg"][chance.choice(("task", "common"))]
    if chance.random() < 0.1:
        del altered[chance.choice(sorted(altered))]
    else:
        altered[chance.choice(sorted(altered))] = chance.choice(VALUES)
    return saved(state)


def other_part(good, chance, marker):
    state = loaded(good)
    part = chance.choice(sorted(state))
    if chance.random() < 0.3:
        del state[part]
    else:
        state[part] = chance.choice(VALUES)
    return saved(state if chance.random() < 0.9 else chance.choice(VALUES))


def code(good, chance, marker):
    state = loaded(good)
    where = chance.choice(("whole", "option", "text", "weight", "part"))
    if where == "text":  # fairseq evaluates it
        altered = vars(state["args"]) if state["cfg"] is None else state["cfg"]["model"]
        name = chance.choice(("encoder_xformers_att_config", "adaptive_softmax_cutoff"))
        altered[name] = f"__import__('os').mkdir({str(marker)!r})"
    elif where == "option":
        state["args"] = Namespace(encoder_layers=Code(marker))
    elif where == "weight":
        state["model"][pick(state["model"], chance)] = Code(marker)
    elif where == "part":
        state[chance.choice(sorted(state))] = Code(marker)
    return saved(Code(marker) if where == "whole" else state, old=chance.random() < 0.3)


def of_old_format(good, chance, marker):
    bad = saved(loaded(good), old=True)
    return chance.choice((truncated, overwritten))(bad, chance, marker)


KINDS = {
    "truncated": truncated,
    "flipped": flipped,
    "flipped in the directory": flipped_in_the_directory,
    "overwritten": overwritten,
    "another kind of file": another_kind_of_file,
    "packed again": packed_again,
    "old format": of_old_format,
    "other weight": other_weight,
    "other baked table": partial(other_weight, only="baked"),
    "not finite": not_finite,
    "missing weight": missing,
    "renamed weight": renamed,
    "other option": other_option,
    "other part": other_part,
    "code": code,
}
