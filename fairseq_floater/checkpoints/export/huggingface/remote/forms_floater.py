"""How tables of positions act in the blocks of an exported model, in plain torch."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

from .positions_floater import Fire, Table

#: what positions give one attention, by what it acts on; for a block, by attention
Acting = Dict[str, Any]


#: the largest feature of a vector in float16, whose range ends at 65,504: trajectories can grow
HALF_LIMIT = 2048.0


def in_dtype(vectors: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``vectors`` in ``dtype``; in float16 within ``HALF_LIMIT``, to keep sums finite."""
    if dtype == torch.float16:
        vectors = vectors.clamp(-HALF_LIMIT, HALF_LIMIT)
    return vectors.to(dtype)


class Tokens(NamedTuple):
    """Where the tokens of a pass stand.

    Attributes:
        numbers: (1 or batch, length), the numbers of all tokens so far, from 0; -1 at pads.
        new: how many of the last tokens are computed in this pass.
        shift: the position of the first token.
        source: the same for the tokens that attention to the source reads; None if their keys and
            values are kept, and in an encoder.
    """

    numbers: Tensor
    new: int
    shift: int = 0
    source: Optional["Tokens"] = None

    @classmethod
    def of(
        cls, mask: Optional[Tensor], length: int, new: int, shift: int, like: Tensor
    ) -> "Tokens":
        """Build from ``mask`` (batch, length), 1 at tokens and 0 at pads; None without pads."""
        if mask is None:
            return cls(torch.arange(length, device=like.device)[None], new, shift)
        tokens = mask.long()
        return cls(tokens.cumsum(dim=1) * tokens - 1, new, shift)

    @property
    def rows(self) -> Tensor:
        """The rows of a table that the new tokens read, (1 or batch, new); -1 at pads."""
        own = self.numbers[:, -self.new :]
        return own + self.shift * (own >= 0)

    def length(self, of_source: bool) -> int:
        """Return the length that a table needs for the pass and, if ``of_source``, its source."""
        sides = (self, self.source if of_source else None)
        return max(t.numbers.size(1) for t in sides if t is not None) + self.shift

    def distances(self) -> Tensor:
        """Return how far each key is from each new token, (new, length): negative if before it."""
        keys = torch.arange(self.numbers.size(1), device=self.numbers.device)
        return keys[None, :] - keys[-self.new :, None]

    def columns(self) -> Tensor:
        """Return (1 or batch, length), counted from 0 at each row's first token, pads included."""
        keys = torch.arange(self.numbers.size(1), device=self.numbers.device)[None]
        first = ((self.numbers >= 0).cumsum(dim=1) == 0).sum(dim=1, keepdim=True)
        return (keys - first).clamp(min=0)


def additive(tracks: Dict[str, Tensor], tokens: Tokens, use: Dict[str, Any]) -> Dict[str, Any]:
    """A vector for the block's input, (1 or batch, new, dim), zero at pads."""
    rows = tokens.rows
    vectors = F.embedding(rows.clamp(min=0), tracks["input"][0])
    return {"input": vectors * (rows >= 0).unsqueeze(2)}


def bias(tracks: Dict[str, Tensor], tokens: Tokens, use: Dict[str, Any]) -> Dict[str, Any]:
    """Biases of queries, keys and values, (1 or batch, length, dim) each."""
    rows = tokens.rows.clamp(min=0)
    acting: Dict[str, Acting] = {}
    if "self" in tracks:
        acting["self"] = {"biases": [F.embedding(rows, track) for track in tracks["self"]]}
    if "cross" in tracks:
        query, key, value = tracks["cross"]
        of_source: List[Optional[Tensor]] = [None, None]
        if tokens.source is not None:
            source = tokens.source.rows.clamp(min=0)
            of_source = [F.embedding(source, track) for track in (key, value)]
        acting["cross"] = {"biases": [F.embedding(rows, query), *of_source]}
    return acting


def rotation(tracks: Dict[str, Tensor], tokens: Tokens, use: Dict[str, Any]) -> Dict[str, Any]:
    """Angles of queries and keys, (1 or batch, 1 or heads, length, pairs)."""

    def angles(track: Tensor, rows: Tensor) -> Tensor:
        table = F.embedding(rows.clamp(min=0), track)
        return table.unflatten(2, (-1, use["pairs"])).transpose(1, 2)

    acting: Dict[str, Acting] = {}
    if "self" in tracks:
        own = angles(tracks["self"][0], tokens.rows)
        acting["self"] = {"turns": (own, own, use["interleaved"])}
    if "cross" in tracks:
        query, key = tracks["cross"]
        of_source = None if tokens.source is None else angles(key, tokens.source.rows)
        acting["cross"] = {"turns": (angles(query, tokens.rows), of_source, use["interleaved"])}
    return acting


def scores(tracks: Dict[str, Tensor], tokens: Tokens, use: Dict[str, Any]) -> Dict[str, Any]:
    """Scores that are added to logits by distance, (heads, new, length)."""
    distances = tokens.distances()
    added = tracks["self"][0][(-distances).clamp(min=0)]
    if len(tracks["self"]) > 1:
        later = tracks["self"][1][distances.clamp(min=0)]
        added = torch.where((distances > 0).unsqueeze(2), later, added)
    return {"self": {"scores": added.permute(2, 0, 1)}}


def relative(tracks: Dict[str, Tensor], tokens: Tokens, use: Dict[str, Any]) -> Dict[str, Any]:
    """Vectors of keys, and of values or None, by clipped distance, and the row of each pair."""
    key, value = (*tracks["self"], None)[:2]
    rows = tokens.distances().clamp(-use["farthest"], use["farthest"]) + use["farthest"]
    return {"self": {"relative": (rows.clamp(max=len(key) - 1), key, value)}}


FORMS: Dict[str, Callable[..., Dict[str, Any]]] = {
    "additive": additive,
    "bias": bias,
    "rotation": rotation,
    "scores": scores,
    "relative": relative,
}


def of_blocks(table: Table, use: Dict[str, Any], tokens: Tokens) -> List[Dict[str, Any]]:
    """Return what ``table`` gives each block that has tracks of it, by attention or as ``input``.

    Args:
        table: the table of all blocks.
        use: ``injection``, the number of ``blocks``, and ``tracks``: which of one block's tracks
            belong to what.
        tokens: the tokens of the pass.
    """
    if isinstance(table, Fire):
        columns = tokens.columns()
        places = columns[:, -tokens.new :], columns
        if len(table.c) == 1:  # the same for all blocks
            return [{"self": {"scores": table.pairs(*places, 0)}}] * use["blocks"]
        return [{"self": {"scores": table.pairs(*places, n)}} for n in range(use["blocks"])]
    by_distance = use["injection"] in ("scores", "relative")
    length = tokens.length("cross" in use["tracks"])
    vectors = table(tokens.numbers.size(1) if by_distance else length)
    found = []
    for tracks in vectors.split(len(vectors) // use["blocks"]):
        parts = {name: tracks[slice(*ends)] for name, ends in use["tracks"].items()}
        found.append(FORMS[use["injection"]](parts, tokens, use))
    return found
