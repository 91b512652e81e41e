"""fairseq's dictionaries, with errors that say what to do."""

from pathlib import Path

from fairseq.data import Dictionary

from fairseq_floater.errors import UserError, first_line


def read_dictionary(path: Path) -> Dictionary:
    """Read a fairseq dictionary; raises a ``UserError`` if fairseq cannot read it."""
    try:
        return Dictionary.load(str(path))
    except Exception as error:  # fairseq raises errors of every kind
        reason = first_line(error)
        raise UserError(f"dictionary {path} cannot be read ({reason}): copy it again") from None


def read_pieces(data: Path, fix: str) -> Dictionary:
    """Return the pieces in ``data``/dict.txt, and the mask, of a model of masked words.

    Args:
        data: the folder of the model.
        fix: the end of the message if there is no such file.

    Raises:
        UserError: if there is none, or fairseq cannot read it.
    """
    path = data / "dict.txt"
    if not path.is_file():
        raise UserError(f"no dictionary at {path}: {fix}")
    dictionary = read_dictionary(path)
    dictionary.add_symbol("<mask>")
    return dictionary
