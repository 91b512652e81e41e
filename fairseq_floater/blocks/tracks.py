"""Which trajectories the blocks of a stack need, and what each is for."""

from typing import Dict, Tuple

from fairseq_floater.encoders import EncoderOptions

#: the attentions of a block, and names of the tracks that bias each
SELF, JOINT, CROSS = "self", "joint", "cross"
TRACKS: Dict[str, Tuple[str, ...]] = {
    SELF: ("self query", "self key", "self value"),
    # of source tokens that self-attention reads together with the target
    JOINT: ("source key", "source value"),
    CROSS: ("cross query", "cross key", "cross value"),
}
#: which of them ``--position-attention`` chooses
CHOSEN = {"both": (SELF, JOINT, CROSS), "self": (SELF, JOINT), "cross": (CROSS,)}


def biased_attentions(options: EncoderOptions, attentions: Tuple[str, ...]) -> Tuple[str, ...]:
    """Those of a block's ``attentions`` that have biases."""
    if options.injection != "bias":
        return ()
    return tuple(kind for kind in attentions if kind in CHOSEN[options.position_attention])


def block_tracks(options: EncoderOptions, attentions: Tuple[str, ...]) -> Tuple[str, ...]:
    """Names of one block's tracks, in order; empty where it has none."""
    if options.injection is None:
        return ()
    if options.injection == "additive":
        return ("input",)
    return tuple(name for kind in biased_attentions(options, attentions) for name in TRACKS[kind])


def track_slices(options: EncoderOptions, attentions: Tuple[str, ...]) -> Dict[str, slice]:
    """Where in a block's tracks those of each attention are; empty without biases."""
    slices, start = {}, 0
    for kind in biased_attentions(options, attentions):
        slices[kind] = slice(start, start + len(TRACKS[kind]))
        start += len(TRACKS[kind])
    return slices
