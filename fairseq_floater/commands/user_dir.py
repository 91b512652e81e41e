"""``floater user-dir``: print where fairseq finds the plugin."""

import argparse
from pathlib import Path

SUMMARY = "print the path to give as --user-dir"


def add_arguments(command: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> None:
    print(Path(__file__).resolve().parents[1])
