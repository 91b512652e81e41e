"""Which tracks the blocks of a stack need, and what each is for."""

from typing import Dict, Tuple

from fairseq_floater.encoders import EncoderOptions, Use

#: the attentions of a block
SELF, JOINT, CROSS = "self", "joint", "cross"

#: names of the tracks that act in each attention, by injection; what is not here cannot act there
TRACKS: Dict[str, Dict[str, Tuple[str, ...]]] = {
    "bias": {
        SELF: ("self query", "self key", "self value"),
        # of source tokens that self-attention reads together with the target
        JOINT: ("source key", "source value"),
        CROSS: ("cross query", "cross key", "cross value"),
    },
    "rotation": {SELF: ("self angles",), CROSS: ("cross query angles", "cross key angles")},
    "scores": {SELF: ("scores before", "scores after")},
    "relative": {SELF: ("relative key", "relative value")},
}

#: which of them ``--position-attention`` chooses
CHOSEN = {"both": (SELF, JOINT, CROSS), "self": (SELF, JOINT), "cross": (CROSS,)}


def tracks_by_attention(
    options: EncoderOptions, use: Use, attentions: Tuple[str, ...], causal: bool
) -> Dict[str, Tuple[str, ...]]:
    """Names of one block's tracks for each of its ``attentions`` that has some, in order.

    ``causal``: self-attention sees no later tokens, and has no scores for them.
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
    """Names of one block's tracks, in order; empty where it has none."""
    if use.injection == "additive":
        return ("input",)
    named = tracks_by_attention(options, use, attentions, causal)
    return tuple(name for names in named.values() for name in names)


def track_slices(
    options: EncoderOptions, use: Use, attentions: Tuple[str, ...], causal: bool
) -> Dict[str, slice]:
    """Where in a block's tracks those of each attention are; empty where none act in attention."""
    slices, start = {}, 0
    for attention, names in tracks_by_attention(options, use, attentions, causal).items():
        slices[attention] = slice(start, start + len(names))
        start += len(names)
    return slices
