"""The options of the position encoders: which kind, where its tracks go, and each kind's own."""

from dataclasses import dataclass, fields
from typing import Any, Dict, Optional, Type

from fairseq_floater.encoders.base import PositionEncoder
from fairseq_floater.encoders.flags import check_values, flag
from fairseq_floater.encoders.floater import FloaterEncoder, FloaterOptions
from fairseq_floater.encoders.learned import LearnedEncoder
from fairseq_floater.encoders.none import NoPositions
from fairseq_floater.encoders.rnn import RNNEncoder, RNNOptions
from fairseq_floater.encoders.sinusoidal import SinusoidalEncoder, SinusoidalOptions
from fairseq_floater.errors import UserError

#: every kind of position encoder, by its name
KINDS: Dict[str, Type[PositionEncoder]] = {
    encoder.kind: encoder
    for encoder in (FloaterEncoder, SinusoidalEncoder, LearnedEncoder, RNNEncoder, NoPositions)
}


@dataclass
class EncoderOptions(FloaterOptions, SinusoidalOptions, RNNOptions):
    """All of them, in one typed dataclass. A kind reads those that its ``Options`` declares."""

    position_encoder: str = flag(
        "floater",
        "where positions come from: a learned differential equation, sinusoids, a learned table, "
        "a recurrent cell, or nowhere",
        choices=KINDS,
    )
    position_blocks: str = flag(
        "all",
        "inject positions at all blocks, or at the first block's input only",
        choices=("all", "input"),
    )
    position_injection: Optional[str] = flag(
        None,
        "bias: keep the base input encoding and add a bias to every attention's queries, keys and "
        "values (default for floater); additive: add a vector to the block's input, in place of "
        "the base encoding (default for the others)",
        choices=("bias", "additive"),
    )
    position_attention: str = flag(
        "both",
        "which attentions get biases: self-attention, cross-attention of the decoder, or both",
        choices=("both", "self", "cross"),
    )

    @property
    def kind(self) -> Type[PositionEncoder]:
        """The kind of position encoder, which says what it can do."""
        return KINDS[self.position_encoder]

    @property
    def injection(self) -> Optional[str]:
        """The injection in force; None where there are no positions."""
        return self.position_injection or next(iter(self.kind.injections), None)

    @property
    def has_dynamics(self) -> bool:
        """Whether tracks follow dynamics, which stacks can share."""
        return "share_dynamics" in {declared.name for declared in fields(self.kind.Options)}

    @property
    def shares_dynamics(self) -> bool:
        """Whether all stacks have one dynamics."""
        return self.has_dynamics and self.share_dynamics == "all"

    @property
    def timed(self) -> bool:
        """Whether tokens stand elsewhere than at their numbers."""
        return self.position_times != "tokens"

    def where(self) -> Dict[str, Any]:
        """The options in force on where positions go."""
        if self.injection is None:
            return {}
        where = {"position_blocks": self.position_blocks, "position_injection": self.injection}
        if self.injection == "bias":
            where["position_attention"] = self.position_attention
        return where

    def read_by_kind(self) -> Dict[str, Any]:
        """The options that this kind of position encoder reads, as they are set."""
        declared, unread = fields(self.kind.Options), self.kind.Options.unread(self)
        return {f.name: getattr(self, f.name) for f in declared if f.name not in unread}

    def check(self) -> None:
        """Check every range and combination.

        Raises:
            UserError: naming the flag, its value and the fix.
        """
        check_values(self)
        for kind in KINDS.values():
            kind.Options.check(self)
        self._check_injection()
        if self.timed and "position_times" not in self.read_by_kind():
            raise UserError(
                f"--position-encoder {self.position_encoder} has whole positions only, without "
                f"--position-times {self.position_times}: use floater or sinusoidal"
            )

    def _check_injection(self) -> None:
        known = self.kind.injections
        if self.position_injection is not None and not known:
            raise UserError(
                f"--position-encoder {self.position_encoder} has nothing to inject: leave out "
                "--position-injection"
            )
        if self.injection is not None and self.injection not in known:
            able = [name for name, kind in KINDS.items() if self.injection in kind.injections]
            raise UserError(
                f"--position-encoder {self.position_encoder} has no learned biases for "
                f"--position-injection {self.injection}: use {known[0]}, or one of "
                f"{', '.join(able)}"
            )
        if self.position_attention != "both" and self.injection != "bias":
            raise UserError(
                f"--position-attention {self.position_attention} chooses among the biases of "
                "--position-injection bias, which is not in use: leave it out"
            )
