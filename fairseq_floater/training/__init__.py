"""Changes to training: optimizer steps, checkpoints, and checks of data and settings."""

from fairseq_floater.training.levers import LeverOptions, apply_levers

__all__ = ["LeverOptions", "apply_levers"]
