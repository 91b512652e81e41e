"""The forms in which tracks act within attention: one for each injection.

A form reads an encoder's table for one pass, and turns a block's tracks into what each of the
block's attentions gets (``AttentionPositions``).
"""

from typing import Dict, Optional, Type

import torch
from torch import Tensor

from fairseq_floater.blocks.biases import ProjectionBiases, Track
from fairseq_floater.blocks.distances import DistanceScores, GivenScores
from fairseq_floater.blocks.places import Reading
from fairseq_floater.blocks.relative import RelativeVectors
from fairseq_floater.blocks.rotation import Rotation, Turn, cosines_and_sines
from fairseq_floater.blocks.seam import AttentionPositions
from fairseq_floater.blocks.tracks import CROSS, JOINT, SELF
from fairseq_floater.encoders import EncoderOptions, PositionEncoder, Use
from fairseq_floater.encoders.distances import DistanceEncoder
from fairseq_floater.encoders.rotary import rotated_pairs

#: tracks of one block by attention, (tracks, rows, ...), as a form has read them
BlockTracks = Dict[str, Tensor]


class Form:
    """How tracks act in the attentions of a block.

    Args:
        options: the model's options.
        head_dim: width of a head.
    """

    def __init__(self, options: EncoderOptions, head_dim: int):
        self.options = options
        self.head_dim = head_dim

    def read(self, encoder: PositionEncoder, reading: Reading) -> Tensor:
        """Return the table for a pass, (tracks, rows, ...), block by block."""
        return reading.vectors(encoder)

    def in_attention(
        self, tracks: BlockTracks, rows: Optional[Tensor], source_rows: Optional[Tensor]
    ) -> Dict[str, AttentionPositions]:
        """Return what each attention gets, given the block's tracks and the rows that tokens read.

        Args:
            tracks: the block's tracks.
            rows: (length, 1 or batch), >= 0; None where all tokens read the only row.
            source_rows: (source length, 1 or batch), rows of the tokens that cross-attention reads;
                None where their keys and values are known from an earlier step.
        """
        raise NotImplementedError


class Biases(Form):
    """Biases of queries, keys and values: FLOATER's own form (section 3.3)."""

    def in_attention(
        self, tracks: BlockTracks, rows: Optional[Tensor], source_rows: Optional[Tensor]
    ) -> Dict[str, AttentionPositions]:
        assert rows is not None  # a step at one position does not come here: see ``steps``
        biases: Dict[str, AttentionPositions] = {}
        if SELF in tracks:
            q, k, v = ([Track(vectors, rows)] for vectors in tracks[SELF])
            if JOINT in tracks and source_rows is not None:
                # Source tokens come first. Later decoding steps keep them.
                source_key, source_value = tracks[JOINT]
                k = [Track(source_key, source_rows), *k]
                v = [Track(source_value, source_rows), *v]
            biases[SELF] = ProjectionBiases(q, k, v)
        if CROSS in tracks:
            # Queries stand at target positions, keys and values at those of the source.
            query, key, value = tracks[CROSS]
            keys = None if source_rows is None else [Track(key, source_rows)]
            values = None if source_rows is None else [Track(value, source_rows)]
            biases[CROSS] = ProjectionBiases([Track(query, rows)], keys, values)
        return biases


class Angles(Form):
    """Angles by which queries and keys are turned: rotary, and FLOATER's, which start from it."""

    def read(self, encoder: PositionEncoder, reading: Reading) -> Tensor:
        """Return cosines and sines of all blocks, (tracks, rows, 2, 1 or heads, pairs)."""
        pairs = rotated_pairs(self.options, self.head_dim)
        return cosines_and_sines(super().read(encoder, reading), pairs)

    def in_attention(
        self, tracks: BlockTracks, rows: Optional[Tensor], source_rows: Optional[Tensor]
    ) -> Dict[str, AttentionPositions]:
        turns: Dict[str, AttentionPositions] = {}
        interleaved = self.options.rotary_layout == "interleaved"
        if SELF in tracks:
            turn = Turn(tracks[SELF][0], rows, interleaved)
            turns[SELF] = Rotation(turn, turn)
        if CROSS in tracks:
            query, key = tracks[CROSS]
            keys = None if source_rows is None else Turn(key, source_rows, interleaved)
            turns[CROSS] = Rotation(Turn(query, rows, interleaved), keys)
        return turns


class Scores(Form):
    """Scores by distance, for each direction: ALiBi, T5's buckets, FLOATER's over distance."""

    def read(self, encoder: PositionEncoder, reading: Reading) -> Tensor:
        return encoder(reading.columns, shared=True)

    def in_attention(
        self, tracks: BlockTracks, rows: Optional[Tensor], source_rows: Optional[Tensor]
    ) -> Dict[str, AttentionPositions]:
        return {SELF: DistanceScores(*tracks[SELF])}


class PairScores(Form):
    """Scores of pairs of tokens: FIRE."""

    def read(self, encoder: PositionEncoder, reading: Reading) -> Tensor:
        """Return scores of both directions in one, (blocks, 1 or batch, queries, keys, heads)."""
        assert isinstance(encoder, DistanceEncoder)
        places = reading.queries_and_keys()
        scores = torch.stack([encoder.pairs(*places, block) for block in range(encoder.sets)])
        return scores.expand(encoder.tracks // encoder.directions, *scores.shape[1:])

    def in_attention(
        self, tracks: BlockTracks, rows: Optional[Tensor], source_rows: Optional[Tensor]
    ) -> Dict[str, AttentionPositions]:
        return {SELF: GivenScores(tracks[SELF][0].permute(0, 3, 1, 2))}


class Relative(Form):
    """Vectors by clipped distance: Shaw et al."""

    def read(self, encoder: PositionEncoder, reading: Reading) -> Tensor:
        return encoder(1, shared=True)  # all vectors that there are

    def in_attention(
        self, tracks: BlockTracks, rows: Optional[Tensor], source_rows: Optional[Tensor]
    ) -> Dict[str, AttentionPositions]:
        k = self.options.shaw_max_distance
        return {SELF: RelativeVectors(k, self.head_dim, *tracks[SELF])}


FORMS: Dict[str, Type[Form]] = {
    "bias": Biases,
    "rotation": Angles,
    "scores": Scores,
    "relative": Relative,
}


def form_of(options: EncoderOptions, use: Use, head_dim: int) -> Optional[Form]:
    """Return the form of a use of positions; None if it does not act within attention."""
    if use.injection not in FORMS:
        return None
    return (PairScores if use.encoder_class.by_pair else FORMS[use.injection])(options, head_dim)
