"""What the plugin does on the optimizer's side of a training, and when one is stopped."""

from fairseq_floater.training.levers import LeverOptions, apply_levers

__all__ = ["LeverOptions", "apply_levers"]
