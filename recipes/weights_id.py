"""Print a digest of the weights in a checkpoint, whose file also says when it was trained.

python recipes/weights_id.py CHECKPOINT
"""

import hashlib
import sys
from pathlib import Path

from fairseq_floater.checkpoints.loading import read_existing
from fairseq_floater.models.baked import bytes_of


def weights_id(path: Path) -> str:
    """Return a digest of the names, shapes, types and values of all weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(read_existing(path)["model"].items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        digest.update(bytes_of(weight))
    return digest.hexdigest()


if __name__ == "__main__":
    print(weights_id(Path(sys.argv[1])))
