"""Checkpoint files: safe reading, all-or-nothing writing, conversion, averaging and export."""

from fairseq_floater.checkpoints.files import read_checkpoint, write_checkpoint
from fairseq_floater.checkpoints.loading import Loaded, load_model, load_options

__all__ = ["Loaded", "load_model", "load_options", "read_checkpoint", "write_checkpoint"]
