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
from fairseq_floater.errors import UserError

#: float32 numbers in the longest vector register of a processor
VECTOR = 16

#: from this many logits on, filling up vectors saves more time than it takes
MANY = 512


class PositionedAttention(MultiheadAttention):
    """fairseq's attention, with the same parameters, state keys, cache and results, plus positions.

    fairseq computes attention in two ways, and one of them has no place for anything between the
    projections and the logits. This class has a single way of its own, over torch's fused
    attention, for training and generation alike. It takes fairseq's constructor arguments and one
    more.

    Args:
        log_scale: N. Products of queries and keys are multiplied by log n / log N, where n is the
            number of keys that a query sees (Chiang and Cholak 2022, section 5); None leaves them
            as they are.

    Raises:
        UserError: for ``add_bias_kv`` or ``add_zero_attn``.
    """

    def __init__(self, *args: Any, log_scale: Optional[float] = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.bias_k is not None or self.add_zero_attn:
            raise UserError(
                "this attention has no keys that stand nowhere: leave out add_bias_kv and "
                "add_zero_attn, which fairseq's Transformers do not use"
            )
        self.log_scale = log_scale
        self.positions: AttentionPositions = NEUTRAL

    def use(self, positions: AttentionPositions) -> None:
        """Use ``positions`` until told otherwise: fairseq's blocks call with fixed arguments.

        The caller must set ``NEUTRAL`` again after the pass.
        """
        object.__setattr__(self, "positions", positions)  # nn.Module's own takes much longer

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
            attn_mask: (target, source), either added to the logits, or true where hidden.
            before_softmax: return only logits and values.
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
        """Return what keys and values are projected from; None where they are known already."""
        if known:
            return None, None
        if self.self_attention:
            return query, query
        return key, key if self.encoder_decoder_attention else value

    def _heads(self, x: Tensor) -> Tensor:
        """Reshape (length, batch, dim) to (batch, heads, length, head dim)."""
        length, batch = x.shape[:2]
        if length == 1:  # as in every decoding step: one view is enough
            return x.view(batch, self.num_heads, 1, self.head_dim)
        return x.view(length, batch, self.num_heads, self.head_dim).permute(1, 2, 0, 3)

    def _joined(self, x: Tensor) -> Tensor:
        """Reshape (batch, heads, length, head dim) to (length, batch, dim)."""
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
        """Put all keys and values so far into ``cache``, with their pads, as fairseq does.

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
        """Return the logits, (batch, heads, target, source).

        For float16 they are in float32, since they can exceed the range of float16.
        """
        if q.dtype == torch.float16:
            q, k = q.float(), k.float()
        # A product of three-dimensional tensors is launched faster than one of four dimensions.
        target, source = q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)
        with _without_autocast(q):  # which would turn the logits back into float16
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
        """Compute what fused attention does, and return the weights as well.

        The weights are (batch, heads, target, source).
        """
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
        """Do nothing: here every hypothesis keeps its own keys, which fairseq's BART can share."""


def _without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which products with ``x`` keep its dtype."""
    return torch.autocast(x.device.type, enabled=False) if autocasting(x) else nullcontext()


def _softmax(logits: Tensor) -> Tensor:
    """Return the softmax over the last dimension of (batch, heads, target, source).

    torch computes rows that do not fill a vector register of the processor number by number, which
    was seen to take five times as long. So decoding steps fill them up.
    """
    batch, heads, target, source = logits.shape
    short = target == 1 and source < VECTOR
    if not short or logits.device.type != "cpu" or batch * heads * source < MANY:
        return logits.softmax(dim=-1)
    return F.pad(logits, (0, VECTOR - source), value=float("-inf")).softmax(dim=-1)[..., :source]


def _with_earlier(
    cache: Mapping[str, Any], k: Optional[Tensor], v: Optional[Tensor]
) -> Tuple[Tensor, Tensor]:
    """Return all keys and values so far: the kept ones, then k and v.

    Each is (batch, heads, length, head dim).
    """
    if k is None or v is None:
        return cache["prev_key"], cache["prev_value"]
    if cache.get("prev_key") is None:
        return k, v
    return torch.cat([cache["prev_key"], k], dim=2), torch.cat([cache["prev_value"], v], dim=2)


def _log_seen(
    attn_mask: Optional[Tensor], key_padding_mask: Optional[Tensor], q: Tensor, k: Tensor
) -> Tensor:
    """Return the logarithm of the number of keys that each query sees, (batch, 1, target, 1)."""
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
    """Return one mask that broadcasts to (batch, heads, target, source).

    It is either true where a key is hidden, or added to the logits.
    """
    hidden = None
    if key_padding_mask is not None and key_padding_mask.dim() > 0:
        hidden = key_padding_mask.bool()[:, None, None]
    added = attn_mask if scores is None or attn_mask is None else scores + attn_mask
    added = scores if added is None else added
    if hidden is None or added is None:
        return hidden if added is None else added
    # Not -inf: where everything else is -inf, a pad then still sees pads. If it saw nothing, a
    # kernel could return NaN. A token sees itself, and beside that the weights of pads vanish.
    return added.masked_fill(hidden, torch.finfo(added.dtype).min)
