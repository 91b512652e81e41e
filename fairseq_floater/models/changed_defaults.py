"""Options that a command leaves unsaid keep their meaning where a default has changed."""

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

from fairseq_floater.encoders import FORMERLY, KINDS, EncoderOptions
from fairseq_floater.encoders.dynamics import DYNAMICS
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.errors import UserError
from fairseq_floater.models.description import model_options
from fairseq_floater.training.save_folder import LAST, own_checkpoints, state_of

logger = logging.getLogger(__name__)


def settle_unsaid(args: Any) -> None:
    """Fill in options whose default has changed, from what else a command says.

    A training that resumes from a model, or starts from one, takes that model's values. An option
    that the default equation does not read asks for the perceptron, formerly the only equation.

    Args:
        args: options of the command line; those that are not given are missing or None.

    Raises:
        UserError: for a flag that the equation in ``--dynamics`` does not read.
    """
    kind = getattr(args, "position_encoder", None) or EncoderOptions.position_encoder
    if kind not in KINDS:
        return  # reported when the options are checked
    read = {declared.name for declared in fields(KINDS[kind].Options)}
    changed = [name for name in FORMERLY if name in read]
    if not changed:
        return
    unsaid = [name for name in changed if getattr(args, name, None) is None]
    given = _given(args) if "dynamics" in read else []
    asking = [name for name in given if name not in DYNAMICS[EncoderOptions.dynamics].reads]
    there, options = _starts_from(args) if unsaid else (None, {})
    if options.get("position_encoder") == kind:
        for name in unsaid:
            setattr(args, name, options.get(name, FORMERLY[name]))
        said = " ".join(f"{flag_name(name)} {getattr(args, name)}" for name in unsaid)
        logger.info(f"{said}, as in {there}")
    elif asking and "dynamics" in unsaid:
        args.dynamics = "mlp"
        logger.info(f"--dynamics mlp, which reads {flag_name(asking[0])}")
    dynamics = getattr(args, "dynamics", None) or EncoderOptions.dynamics
    for name in given:
        usual = getattr(args, name) in (getattr(EncoderOptions, name), FORMERLY.get(name))
        if dynamics in DYNAMICS and name not in DYNAMICS[dynamics].reads and not usual:
            known = " or ".join(other for other, it in DYNAMICS.items() if name in it.reads)
            raise UserError(
                f"{flag_name(name)} {getattr(args, name)} is read by --dynamics {known}, but "
                f"--dynamics is {dynamics}: use --dynamics {known}, or leave it out"
            )


def _given(args: Any) -> List[str]:
    """Return the equation's options, besides its kind, that a command gives."""
    read = sorted(set().union(*(equation.reads for equation in DYNAMICS.values())))
    values = {name: getattr(args, name, None) for name in read}
    return [name for name, value in values.items() if value is not None and value is not False]


def _starts_from(args: Any) -> Tuple[Optional[Path], Mapping[str, Any]]:
    """Return a checkpoint of the model that fairseq-train will load, if any, and its options.

    If ``checkpoint_last.pt`` is missing or broken, a training resumes from another checkpoint in
    its folder, all of which have the same options.
    """
    restored, base = getattr(args, "restore_file", None), getattr(args, "finetune_from_model", None)
    places, folder = [Path(restored)] if restored else [], getattr(args, "save_dir", None)
    if restored in (None, LAST) and folder:
        places = sorted(own_checkpoints(Path(folder), base), key=lambda path: path.name != LAST)
    once = getattr(args, "continue_once", None) if restored in (None, LAST) else None
    for path in (*places, *(Path(first) for first in (once, base) if first)):
        if path.is_file() and (options := _options_in(path)):
            return path, options
    return None, {}


def _options_in(checkpoint: Path) -> Mapping[str, Any]:
    """Return its model's options; none if it cannot be read, which is reported at loading."""
    try:
        return model_options(state_of(checkpoint))
    except Exception:
        return {}
