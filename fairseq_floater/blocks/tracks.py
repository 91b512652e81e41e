"""Which tracks the blocks of a stack need, and what each is for."""

from typing import Dict, Tuple

from fairseq_floater.encoders import EncoderOptions, Use

#: the attentions of a block; JOINT stands for the source tokens that self-attention also reads with
#: ``--cross-self-attention``
SELF, JOINT, CROSS = "self", "joint", "cross"

#: names of the tracks that act in each attention, by injection; it can act in no other attention
TRACKS: Dict[str, Dict[str, Tuple[str, ...]]] = {
    "bias": {
        SELF: ("self query", "self key", "self value"),
        JOINT: ("source key", "source value"),
        CROSS: ("cross query", "cross key", "cross value"),
    },
    "rotation": {SELF: ("self angles",), CROSS: ("cross query angles", "cross key angles")},
    "scores": {SELF: ("scores before", "scores after")},
    "relative": {SELF: ("relative key", "relative value")},
}

#: the attentions that each value of ``--position-attention`` chooses
CHOSEN = {"both": (SELF, JOINT, CROSS), "self": (SELF, JOINT), "cross": (CROSS,)}


def tracks_by_attention(
    options: EncoderOptions, use: Use, attentions: Tuple[str, ...], causal: bool
) -> Dict[str, Tuple[str, ...]]:
    """Return the names of one block's tracks for each of its ``attentions`` that has any, in order.

    If ``causal``, self-attention sees no later tokens, and has no scores for them.
    """
    names = {
        attention: TRACKS[use.injection][attention]
        for attention in attentions
        if attention in CHOSEN[use.attention] and attention in TRACKS.get(use.injection, {})
    }
    only_first = use.injection == "scores" and causal
    only_first |= use.injection == "relative" and not options.shaw_values
    return {attention: known[:1] if only_first else known for attention, known in names.items()}


def block_tracks(
    options: EncoderOptions, use: Use, attentions: Tuple[str, ...], causal: bool
) -> Tuple[str, ...]:
    """Return the names of one block's tracks, in order; empty if it has none."""
    if use.injection == "additive":
        return ("input",)
    named = tracks_by_attention(options, use, attentions, causal)
    return tuple(name for names in named.values() for name in names)


def track_slices(
    options: EncoderOptions, use: Use, attentions: Tuple[str, ...], causal: bool
) -> Dict[str, slice]:
    """Return where in a block's tracks each attention's are; empty if none act in attention."""
    slices, start = {}, 0
    for attention, names in tracks_by_attention(options, use, attentions, causal).items():
        slices[attention] = slice(start, start + len(names))
        start += len(names)
    return slices
