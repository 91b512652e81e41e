"""Checkpoint files: safe reading, all-or-nothing writing, conversion, averaging and export."""
