"""Transformer blocks with positions, as fairseq_floater trains them, in plain torch.

This file goes with an exported model. The names of the weights are those of fairseq.
"""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.cache_utils import EncoderDecoderCache

from .forms_floater import Acting, Tokens, in_dtype, of_blocks
from .positions_floater import Table, build_table


class Attention(nn.Module):
    """Multi-head attention with a place for positions.

    Args:
        dim: the width of queries and outputs.
        source_dim: the width of what keys and values are projected from.
        heads: the number of heads.
        log_scale: N, to multiply products of queries and keys by log n / log N; None not to.
    """

    def __init__(self, dim: int, source_dim: int, heads: int, log_scale: Optional[float]):
        super().__init__()
        self.heads, self.log_scale = heads, log_scale
        self.q_proj, self.out_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.k_proj, self.v_proj = nn.Linear(source_dim, dim), nn.Linear(source_dim, dim)

    def forward(
        self, x: Tensor, source: Optional[Tensor], hidden: Tensor, acting: Acting, kept: "Kept"
    ) -> Tuple[Tensor, Tensor]:
        """Attend from x (batch, target, dim) to ``source`` or, if it is None, to what is kept.

        Args:
            x, source: (batch, length, dim).
            hidden: (1 or batch, 1, target, keys), true where a query does not see a key.
            acting: what positions give this attention.
            kept: keys and values of earlier steps.

        Returns:
            The output (batch, target, dim), and the weights (batch, heads, target, keys).
        """
        q = self.projected(self.q_proj, x, acting["biases"][0] if "biases" in acting else None)
        if "turns" in acting:
            query, _, interleaved = acting["turns"]
            q = turned(q, query, interleaved)
        own = (None, None) if source is None else self.keys_and_values(source, acting)
        k, v = kept.with_earlier(*own)
        if self.log_scale is not None:
            seen = (~hidden).sum(dim=3, keepdim=True).clamp(min=1)
            q = q * (seen.log() / math.log(self.log_scale)).to(q.dtype)
        q = q * q.size(3) ** -0.5
        if q.dtype == torch.float16:  # products can exceed its range
            q, k = q.float(), k.float()
        with torch.autocast(q.device.type, enabled=False):  # it would turn them to float16 again
            logits = (q @ k.to(q).transpose(2, 3)).float()
        if "scores" in acting:
            logits = logits + acting["scores"]
        if "relative" in acting:
            rows, key, value = acting["relative"]
            rows = rows.expand(*q.shape[:2], -1, -1)
            by_distance = (q @ self.of_heads(key, q).transpose(1, 2)).float()
            logits = logits + by_distance.gather(3, rows)
        weights = logits.masked_fill(hidden, -math.inf).softmax(dim=3).to(v.dtype)
        attended = weights @ v
        if "relative" in acting and value is not None:
            by_distance = weights.new_zeros(*weights.shape[:3], len(value))
            by_distance = by_distance.scatter_add(3, rows, weights)
            attended = attended + by_distance @ self.of_heads(value, v)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), weights

    def keys_and_values(self, source: Tensor, acting: Acting) -> Tuple[Tensor, Tensor]:
        """Return the keys and values of ``source`` (batch, length, dim).

        Both are (batch, heads, length, head dim).
        """
        _, of_keys, of_values = acting.get("biases", (None, None, None))
        k = self.projected(self.k_proj, source, of_keys)
        if "turns" in acting:
            _, key, interleaved = acting["turns"]
            k = turned(k, key, interleaved)
        return k, self.projected(self.v_proj, source, of_values)

    def projected(self, projection: nn.Linear, x: Tensor, bias: Optional[Tensor]) -> Tensor:
        """Return (batch, heads, length, head dim)."""
        y = projection(x)
        y = y if bias is None else y + in_dtype(bias, y.dtype)
        return y.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def of_heads(self, table: Tensor, like: Tensor) -> Tensor:
        """(distances, width of one head or of all) to (1 or heads, distances, head dim)."""
        return table.unflatten(1, (-1, like.size(3))).transpose(0, 1).to(like.dtype)


class Kept:
    """Keys and values of one attention in a transformers cache; without one, none are kept."""

    def __init__(self, cache: Any = None, layer: int = 0):
        self.cache, self.layer = cache, layer

    def with_earlier(self, k: Optional[Tensor], v: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        if k is None or v is None:
            kept = self.cache.layers[self.layer]
            return kept.keys, kept.values
        return (k, v) if self.cache is None else self.cache.update(k, v, self.layer)


def turned(x: Tensor, table: Tensor, interleaved: bool) -> Tensor:
    """Turn x (batch, heads, length, head dim) by angles (1 or batch, 1 or heads, length, pairs)."""
    cosine, sine, pairs = table.cos(), table.sin(), table.size(3)
    moving, rest = x[..., : 2 * pairs].to(table.dtype), x[..., 2 * pairs :]
    if interleaved:
        a, b = moving.unflatten(3, (pairs, 2)).unbind(4)
    else:
        a, b = moving.split(pairs, dim=3)
    parts = [a * cosine - b * sine, a * sine + b * cosine]
    moving = torch.stack(parts, dim=4).flatten(3) if interleaved else torch.cat(parts, dim=3)
    return torch.cat([moving.to(x.dtype), rest], dim=3)


class Block(nn.Module):
    """Self-attention, attention to the source in a decoder, and a feed-forward network.

    Args:
        side: its part of the configuration.
        source_dim: the width of the encoder's output; None in an encoder.
    """

    def __init__(self, side: Dict[str, Any], source_dim: Optional[int] = None):
        super().__init__()
        dim, heads, scale = side["dim"], side["heads"], side["log_scale"]
        self.first = side["normalize_before"]
        self.activation = ACT2FN[side["activation"]]
        eps = side["layer_norm_eps"]
        self.self_attn = Attention(dim, dim, heads, scale)
        self.self_attn_layer_norm = nn.LayerNorm(dim, eps)
        self.encoder_attn: Optional[Attention] = None
        if source_dim is not None:
            self.encoder_attn = Attention(dim, source_dim, heads, scale)
            self.encoder_attn_layer_norm = nn.LayerNorm(dim, eps)
        self.fc1, self.fc2 = nn.Linear(dim, side["inner_dim"]), nn.Linear(side["inner_dim"], dim)
        self.final_layer_norm = nn.LayerNorm(dim, eps)
        self.dropout = nn.Dropout(side["dropout"])

    def forward(
        self,
        x: Tensor,
        hidden: Tensor,
        acting: Dict[str, Acting],
        kept: Kept,
        source: Optional[Tensor] = None,
        source_hidden: Optional[Tensor] = None,
        source_kept: Optional[Kept] = None,
    ) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """Return x (batch, length, dim), and the weights of both attentions; see ``Attention``."""
        y = self.before(self.self_attn_layer_norm, x)
        y, weights = self.self_attn(y, y, hidden, acting.get("self", {}), kept)
        x = self.after(self.self_attn_layer_norm, x, y)
        to_source = None
        if self.encoder_attn is not None and source_hidden is not None:
            y = self.before(self.encoder_attn_layer_norm, x)
            positions = acting.get("cross", {})
            y, to_source = self.encoder_attn(y, source, source_hidden, positions, source_kept)
            x = self.after(self.encoder_attn_layer_norm, x, y)
        y = self.fc2(self.activation(self.fc1(self.before(self.final_layer_norm, x))))
        return self.after(self.final_layer_norm, x, y), weights, to_source

    def before(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        return norm(x) if self.first else x

    def after(self, norm: nn.LayerNorm, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.dropout(y)
        return x if self.first else norm(x)


class Stack(nn.Module):
    """Embeddings, positions and blocks of an encoder or a decoder.

    Args:
        side: its part of the configuration.
        source_dim: see ``Block``.
    """

    def __init__(self, side: Dict[str, Any], source_dim: Optional[int] = None):
        super().__init__()
        self.side = side
        self.embed_tokens = nn.Embedding(side["words"], side["dim"], side["padding"])
        embedded, final = side["layernorm_embedding"], side["final_layer_norm"]
        eps = side["layer_norm_eps"]
        self.layernorm_embedding = nn.LayerNorm(side["dim"], eps) if embedded else None
        self.layers = nn.ModuleList(Block(side, source_dim) for _ in range(side["layers"]))
        self.layer_norm = nn.LayerNorm(side["dim"], eps) if final else None
        self.positions = nn.ModuleDict(
            {name: build_table(use["table"]) for name, use in side["positions"].items()}
        )

    def acting(self, tokens: Tokens) -> List[Dict[str, Any]]:
        """Return what positions give each block, by attention and as ``input``."""
        blocks: List[Dict[str, Any]] = [{} for _ in self.layers]
        for name, use in self.side["positions"].items():
            for block, found in zip(blocks, of_blocks(self.table(name), use, tokens)):
                for part, act in found.items():
                    block[part] = {**block.get(part, {}), **act} if part != "input" else act
        return blocks

    def table(self, name: str) -> Table:
        found = self.positions[name]
        assert isinstance(found, Table)
        return found

    def embedded(self, ids: Tensor, vectors: Optional[Tensor]) -> Tensor:
        """Return (batch, length, dim), with the position vectors of the first block's input."""
        x = self.embed_tokens(ids) * self.side["scale"]
        x = x if vectors is None else x + in_dtype(vectors, x.dtype)
        return x if self.layernorm_embedding is None else self.layernorm_embedding(x)

    def through(
        self, x: Tensor, acting: List[Dict[str, Any]], every: bool, **given: Any
    ) -> "Passed":
        """Pass x through all blocks; each gets ``given``; lists have an item per block.

        What is inside is kept only if ``every`` block is asked for: it is large for long texts.
        """
        states, weights, to_source = [], [], []
        for number, (block, positions) in enumerate(zip(self.layers, acting)):
            inner = x
            if number and "input" in positions:
                x = x + in_dtype(positions["input"], x.dtype)
            own = {n: v[number] if isinstance(v, list) else v for n, v in given.items()}
            x, of_self, of_source = block(x, acting=positions, **own)
            if every:
                states.append(inner)
                weights.append(of_self)
                to_source.append(of_source)
        x = x if self.layer_norm is None else self.layer_norm(x)
        return Passed(x, (*states, x) if every else (), tuple(weights), tuple(to_source))


class Passed(NamedTuple):
    """The output of a stack and, if asked for, the inputs and attention of all its blocks."""

    x: Tensor
    states: Tuple[Tensor, ...]
    weights: Tuple[Tensor, ...]
    to_source: Tuple[Optional[Tensor], ...]

    def asked_for(self, attentions: Optional[bool], states: Optional[bool]) -> Dict[str, Any]:
        """Return what is wanted of an encoder's output, by the names of transformers."""
        return {
            "last_hidden_state": self.x,
            "hidden_states": self.states if states else None,
            "attentions": self.weights if attentions else None,
        }


class Encoder(Stack):
    """A stack that sees the whole text."""

    def forward(self, ids: Tensor, mask: Optional[Tensor] = None, every: bool = False) -> "Passed":
        """Takes ids (batch, length); a mask of the same shape is 1 at tokens and 0 at pads."""
        tokens = Tokens.of(mask, ids.size(1), ids.size(1), self.side["shift"], ids)
        acting = self.acting(tokens)
        x = self.embedded(ids, acting[0].get("input"))
        if mask is not None:
            x = x * mask.unsqueeze(2).to(x.dtype)
        hidden = hidden_pads(tokens.distances(), mask)
        return self.through(x, acting, every, hidden=hidden, kept=Kept())


class Decoder(Stack):
    """A stack that sees the source, and the earlier part of its own text; see ``Stack``."""

    def __init__(self, side: Dict[str, Any], source_dim: int):
        super().__init__(side, source_dim)
        self.output_projection = nn.Linear(side["dim"], side["words"], bias=False)

    def forward(
        self,
        ids: Tensor,
        source: Tensor,
        source_mask: Tensor,
        mask: Optional[Tensor] = None,
        cache: Optional[EncoderDecoderCache] = None,
        every: bool = False,
    ) -> "Passed":
        """Takes new ids (batch, length), after those whose keys and values are in ``cache``.

        Args:
            source: (batch, source length, dim), the output of the encoder.
            source_mask: (batch, source length), 1 at tokens and 0 at pads.
            mask: (batch, length), likewise, including the earlier ids.
            every: see ``through``.
        """
        earlier = 0 if cache is None else cache.get_seq_length()
        known = cache is not None and bool(cache.is_updated.get(0))
        length, new, shift = earlier + ids.size(1), ids.size(1), self.side["shift"]
        tokens = Tokens.of(mask, length, new, shift, ids)
        if not known:
            width = source.size(1)
            tokens = tokens._replace(source=Tokens.of(source_mask, width, width, shift, ids))
        acting, distances = self.acting(tokens), tokens.distances()
        own = of_source = None
        if cache is not None:
            own, of_source = cache.self_attention_cache, cache.cross_attention_cache
        numbers = range(len(self.layers))
        passed = self.through(
            self.embedded(ids, acting[0].get("input")),
            acting,
            every,
            hidden=hidden_pads(distances, mask) | (distances > 0),
            kept=[Kept(own, number) for number in numbers],
            source=None if known else source,
            source_hidden=source_mask[:, None, None].eq(0).expand(-1, -1, new, -1),
            source_kept=[Kept(of_source, number) for number in numbers],
        )
        if cache is not None:
            cache.is_updated = dict.fromkeys(numbers, True)
        return passed

    def source_keys(self, source: Tensor, mask: Tensor) -> List[Tuple[Tensor, Tensor]]:
        """Return the keys and values of the source for each block, see ``Attention``."""
        width, shift = source.size(1), self.side["shift"]
        tokens = Tokens.of(None, 1, 1, shift, source)
        tokens = tokens._replace(source=Tokens.of(mask, width, width, shift, source))
        blocks: Any = self.layers
        return [
            block.encoder_attn.keys_and_values(source, acting.get("cross", {}))
            for block, acting in zip(blocks, self.acting(tokens))
        ]


def hidden_pads(distances: Tensor, mask: Optional[Tensor]) -> Tensor:
    """Hide pads, (1 or batch, 1, new, length), except from themselves: softmax needs something."""
    if mask is None:
        return torch.zeros_like(distances, dtype=torch.bool)[None, None]
    return mask[:, None, None].eq(0) & (distances != 0)
