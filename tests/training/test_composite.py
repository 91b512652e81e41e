"""fairseq's composite optimizer, with a separate learning rate for the dynamics."""

import torch
from launching import succeed, together
from places import PLUGIN, ROOT

pytest_plugins = ["commands"]

GROUP = "optimizer.groups.default"
COMPOSITE = [
    "optimizer._name=composite",
    "~optimizer.adam_betas",
    "~lr_scheduler.warmup_updates",
    f"+{GROUP}.optimizer._name=adam",
    f"+{GROUP}.optimizer.adam_betas='(0.9,0.98)'",
    f"+{GROUP}.optimizer.lr=[0.01]",
    f"+{GROUP}.lr_scheduler._name=fixed",
    f"+{GROUP}.lr_scheduler.lr=[0.01]",
    "lr_scheduler._name=pass_through",
]


def train(corpus, folder, *overrides):
    """Return a command that trains a small model for one update by hydra."""
    sizes = [f"{s}_{d}_dim" for s in ("encoder", "decoder") for d in ("embed", "ffn_embed")]
    return [
        *("hydra-train", "--config-dir", ROOT / "recipes" / "hydra", "--config-name", "tiny"),
        *(f"task.data={corpus}", f"common.user_dir={PLUGIN}", "common.cpu=true"),
        *(f"model.{size}=16" for size in sizes),
        *("model.dropout=0", "common.log_interval=1", "dataset.num_workers=0"),
        *("optimization.max_update=1", f"hydra.run.dir={folder}", *overrides),
    ]


def test_dynamics_take_their_share_under_a_composite_optimizer(corpus, tmp_path):
    """One update of Adam moves each weight by its learning rate, wherever it has a gradient."""
    commands = {
        scale: train(
            corpus,
            tmp_path / scale,
            f"model.dynamics_lr_scale={scale}",
            "+model.dynamics=mlp",
            *COMPOSITE,
        )
        for scale in ("1.0", "0.1")
    }
    together(succeed, commands)
    weights = {}
    for scale in commands:
        (path,) = (tmp_path / scale).glob("**/checkpoint_last.pt")
        weights[scale] = torch.load(path, weights_only=True)["model"]
    whole, share = weights["1.0"], weights["0.1"]
    for name, value in whole.items():
        if ".dynamics." in name:
            # They start from equal values, and so end nine tenths of a step apart.
            apart = (value - share[name]).abs()
            moved = apart[apart > 0]
            assert len(moved) > 0 and (moved.max() - 0.009).abs() < 1e-4, name
        else:
            assert torch.equal(value, share[name]), name
