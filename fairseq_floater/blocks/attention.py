"""fairseq's multi-head attention with a seam for positions."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Dict, Mapping, Optional, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor
from torch.nn import functional as F

from fairseq_floater.blocks.places import autocasting
from fairseq_floater.blocks.seam import NEUTRAL, AttentionPositions

#: numbers of float32 in the longest vector of a processor
VECTOR = 16

#: so many logits that filling up vectors takes less time than it saves
MANY = 512


class PositionedAttention(MultiheadAttention):
    """The same parameters, state keys, cache and results as fairseq's, and positions in between.

    fairseq computes attention in two ways, of which one has no place for anything between the
    projections and the logits; this class has one of its own, over torch's fused attention, for
    training and generation alike. Constructor arguments are fairseq's, and one more.

    Args:
        log_scale: N, for products of queries and keys times log n / log N, n being the number of
            keys a query sees (Chiang and Cholak 2022, section 5); None leaves them as they are.
    """

    def __init__(self, *args: Any, log_scale: Optional[float] = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.log_scale = log_scale
        self.positions: AttentionPositions = NEUTRAL

    def use(self, positions: AttentionPositions) -> None:
        """Use ``positions`` until told otherwise: fairseq's blocks call with fixed arguments.

        Whoever calls this gives ``NEUTRAL`` back after the pass.
        """
        object.__setattr__(self, "positions", positions)  # a module's own way takes much longer

    def forward(
        self,
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
        key_padding_mask: Optional[Tensor] = None,
        incremental_state: Optional[Dict[str, Any]] = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Optional[Tensor] = None,
        before_softmax: bool = False,
        need_head_weights: bool = False,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Attend from ``query`` (target length, batch, dim), as fairseq's attention does.

        Args:
            key, value: (source length, batch, dim).
            key_padding_mask: (batch, source length), true at pads.
            incremental_state: holds the keys and values of earlier steps.
            need_weights: return weights, the mean over heads, (batch, target, source).
            static_kv: keys and values do not change after the first step.
            attn_mask: (target, source), added to the logits, or true at what is hidden.
            before_softmax: return logits and values in place of all else.
            need_head_weights: return the weights of each head, (heads, batch, target, source).

        Returns:
            (target length, batch, dim), and the weights, if any were asked for.
        """
        cache: Dict[str, Any] = {}
        if incremental_state is not None:
            cache = self._get_input_buffer(incremental_state)
        known = static_kv and bool(cache)
        key, value = self._inputs(query, key, value, known)
        q, k, v = self.positions.project(self, query, key, value)
        q = self._heads(q)
        k = None if k is None else self._heads(k)
        v = None if v is None else self._heads(v)
        q, k = self.positions.rotate(q, k)
        k, v = _with_earlier(cache, k, v)
        if known:  # and nothing new to keep
            pads = cache.get("prev_key_padding_mask")
            key_padding_mask = key_padding_mask if pads is None else pads
        elif incremental_state is not None:
            key_padding_mask = self._keep(cache, k, v, key_padding_mask, static_kv)
            self._set_input_buffer(incremental_state, cache)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = q.new_zeros(attn_mask.shape).masked_fill(attn_mask, float("-inf"))
        if self.log_scale is not None:
            q = q * _log_seen(attn_mask, key_padding_mask, q, k) / math.log(self.log_scale)
        mask = _merged(attn_mask, key_padding_mask, self.positions.scores(q, k))
        if before_softmax:
            return self._logits(q, k, mask).flatten(0, 1), v.flatten(0, 1)
        shown = None
        openly = need_weights or need_head_weights or self.positions.needs_weights
        if openly or (q.size(2) == 1 and q.device.type == "cpu"):
            # On a CPU there is nothing to fuse for a single query, and the fused kernel is slower.
            attended, weights = self._attend_openly(q, k, v, mask)
            if need_head_weights:
                shown = weights.transpose(0, 1)
            elif need_weights:
                shown = weights.mean(dim=1)
        else:
            mask = ~mask if mask is not None and mask.dtype == torch.bool else mask  # true: seen
            attended = F.scaled_dot_product_attention(q, k, v, mask, self._dropout_rate())
        return self.out_proj(self._joined(attended)), shown

    def _inputs(
        self, query: Tensor, key: Optional[Tensor], value: Optional[Tensor], known: bool
    ) -> Tuple[Optional[Tensor], Optional[Tensor]]:
        """What keys and values are projected from; nothing where they are known already."""
        if known:
            return None, None
        if self.self_attention:
            return query, query
        return key, key if self.encoder_decoder_attention else value

    def _heads(self, x: Tensor) -> Tensor:
        """(length, batch, dim) to (batch, heads, length, head dim)."""
        length, batch = x.shape[:2]
        if length == 1:  # as in every step of a decoding: in one view
            return x.view(batch, self.num_heads, 1, self.head_dim)
        return x.view(length, batch, self.num_heads, self.head_dim).permute(1, 2, 0, 3)

    def _joined(self, x: Tensor) -> Tensor:
        """(batch, heads, length, head dim) to (length, batch, dim)."""
        if x.size(2) == 1:
            return x.reshape(1, x.size(0), -1)
        return x.permute(2, 0, 1, 3).flatten(2)

    def _keep(
        self,
        cache: Dict[str, Any],
        k: Tensor,
        v: Tensor,
        key_padding_mask: Optional[Tensor],
        static_kv: bool,
    ) -> Optional[Tensor]:
        """Put all keys and values so far into ``cache``, as in fairseq, with their pads.

        Returns the pads, (batch, length).
        """
        key_padding_mask = MultiheadAttention._append_prev_key_padding_mask(
            key_padding_mask=key_padding_mask,
            prev_key_padding_mask=cache.get("prev_key_padding_mask"),
            batch_size=k.size(0),
            src_len=k.size(2),
            static_kv=static_kv,
        )
        cache.update(prev_key=k, prev_value=v, prev_key_padding_mask=key_padding_mask)
        return key_padding_mask

    def _logits(self, q: Tensor, k: Tensor, mask: Optional[Tensor]) -> Tensor:
        """(batch, heads, target, source); in float32 for float16, whose range they can leave."""
        if q.dtype == torch.float16:
            q, k = q.float(), k.float()
        # A product of three dimensions is launched sooner than one of four.
        target, source = q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)
        with _without_autocast(q):  # which would turn it to float16 again
            logits = torch.baddbmm(q.new_empty(1), target, source, beta=0, alpha=self.scaling)
        logits = logits.view(*q.shape[:3], -1)
        if mask is None:
            return logits
        if mask.dtype == torch.bool:
            return logits.masked_fill(mask, float("-inf"))
        return logits + mask

    def _attend_openly(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor]:
        """What fused attention computes, with the weights (batch, heads, target, source) to see."""
        logits = self._logits(q, k, mask)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        weights = _softmax(logits)
        dropped = weights.to(v.dtype)
        if rate := self._dropout_rate():
            dropped = F.dropout(dropped, rate)
        attended = torch.bmm(dropped.flatten(0, 1), v.flatten(0, 1)).view(*q.shape[:3], -1)
        more = self.positions.values(dropped)
        return attended if more is None else attended + more, weights

    def _dropout_rate(self) -> float:
        dropout = self.dropout_module
        return dropout.p if self.training or dropout.apply_during_inference else 0.0

    def set_beam_size(self, beam_size: int) -> None:
        """Every hypothesis keeps keys of its own; fairseq's BART can share them."""


def _without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which products with ``x`` keep its dtype."""
    return torch.autocast(x.device.type, enabled=False) if autocasting(x) else nullcontext()


def _softmax(logits: Tensor) -> Tensor:
    """Over the last dimension of (batch, heads, target, source).

    torch computes rows that do not fill a vector of the processor number by number, which was seen
    to take five times as long. So the steps of a decoding fill them up.
    """
    batch, heads, target, source = logits.shape
    short = target == 1 and source < VECTOR
    if not short or logits.device.type != "cpu" or batch * heads * source < MANY:
        return logits.softmax(dim=-1)
    return F.pad(logits, (0, VECTOR - source), value=float("-inf")).softmax(dim=-1)[..., :source]


def _with_earlier(
    cache: Mapping[str, Any], k: Optional[Tensor], v: Optional[Tensor]
) -> Tuple[Tensor, Tensor]:
    """All keys and values so far, (batch, heads, length, head dim): the kept ones, then k and v."""
    if k is None or v is None:
        return cache["prev_key"], cache["prev_value"]
    if cache.get("prev_key") is None:
        return k, v
    return torch.cat([cache["prev_key"], k], dim=2), torch.cat([cache["prev_value"], v], dim=2)


def _log_seen(
    attn_mask: Optional[Tensor], key_padding_mask: Optional[Tensor], q: Tensor, k: Tensor
) -> Tensor:
    """Logarithm of the number of keys that each query sees, (batch, 1, target, 1)."""
    queries = q.new_ones(q.size(2), k.size(2), dtype=torch.float32)
    if attn_mask is not None:
        queries = queries.masked_fill(attn_mask < -1e3, 0.0)
    keys = q.new_ones(q.size(0), k.size(2), dtype=torch.float32)
    if key_padding_mask is not None and key_padding_mask.dim() > 0:
        keys = keys.masked_fill(key_padding_mask.bool(), 0.0)
    seen = (keys @ queries.t()).clamp(min=1.0)  # a query that sees nothing is a pad
    return seen.log()[:, None, :, None].to(q.dtype)


def _merged(
    attn_mask: Optional[Tensor], key_padding_mask: Optional[Tensor], scores: Optional[Tensor]
) -> Optional[Tensor]:
    """One mask, that broadcasts to (batch, heads, target, source): true where hidden, or added."""
    hidden = None
    if key_padding_mask is not None and key_padding_mask.dim() > 0:
        hidden = key_padding_mask.bool()[:, None, None]
    added = attn_mask if scores is None or attn_mask is None else scores + attn_mask
    added = scores if added is None else added
    if hidden is None or added is None:
        return hidden if added is None else added
    # Not -inf: where all else is, a pad still sees pads, and what a kernel makes of nothing to see
    # is not NaN. A token sees itself, beside which pads come to nothing.
    return added.masked_fill(hidden, torch.finfo(added.dtype).min)
