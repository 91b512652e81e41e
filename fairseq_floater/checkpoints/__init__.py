"""Checkpoint files: read safely, written whole, converted, averaged, exported."""
