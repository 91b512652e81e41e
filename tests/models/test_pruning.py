"""Models from which blocks are taken out, and decoders that read source and target together."""

import copy

import pytest
import torch
from commands import COMMON, GENERATION, TRAINING
from conftest import make_batch, make_model
from launching import succeed, together
from omegaconf import OmegaConf

from fairseq_floater.checkpoints.bake import bake_tables
from fairseq_floater.errors import UserError

pytest_plugins = ["commands"]

KEPT = {"encoder_layers_to_keep": "0,2", "decoder_layers_to_keep": "1"}
KINDS = {
    "biases": {},
    "cross": {"position_attention": "cross"},
    "vectors": {"position_injection": "additive"},
    "sinusoids": {"position_encoder": "sinusoidal"},
    "learned": {"position_encoder": "learned", "position_injection": "bias"},
    "recurrent": {"position_encoder": "rnn", "position_injection": "bias"},
    "fourier on shaw": {
        "position_encoder": "fourier",
        "base_positions": "shaw",
        "shaw_values": True,
    },
    "angles": {"position_injection": "rotation"},
    "scores": {"position_injection": "scores"},
    "relative bias": {"position_encoder": "relative-bias"},
}


def without_blocks(model):
    """Return a copy without the blocks that are not kept; its other blocks keep their vectors."""
    model = copy.deepcopy(model)
    for stack, kept in ((model.encoder, [0, 2]), (model.decoder, [1])):
        stack.layers = torch.nn.ModuleList(stack.layers[number] for number in kept)
        opened = stack.feed.opened

        def only_kept(current, opened=opened, kept=kept, stack=stack):
            blocks = [current.blocks[i] for i in kept if current.blocks]
            input = current.input if not stack.additive else blocks[0]["position_tracks"][0]
            return opened(current._replace(blocks=blocks, input=input))

        stack.feed.opened = only_kept
        for place, layer in enumerate(stack.layers):
            (hook,) = list(layer._forward_pre_hooks.values()) or [None]
            layer._forward_pre_hooks.clear()
            if hook is not None and (not stack.additive or place > 0):
                layer.register_forward_pre_hook(
                    lambda m, args, kwargs, place=place, stack=stack: stack.feed._to_block(
                        place, m, args, kwargs
                    ),
                    with_kwargs=True,
                )
    return model


@pytest.mark.parametrize("kind", ["vectors", "sinusoids", "biases"])
def test_vectors_that_go_with_the_first_block_are_said(kind, caplog):
    whole = make_model(seed=3, **KINDS[kind]).state_dict()
    for kept in ("0,2", "1,2"):
        pruned = make_model(seed=4, **KINDS[kind], encoder_layers_to_keep=kept)
        caplog.clear()
        pruned.load_state_dict(copy.deepcopy(whole))
        said = "the vectors of block 1 of the encoder are now added at its input" in caplog.text
        assert said == (kept == "1,2" and kind != "biases")


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_kept_blocks_keep_their_trajectories(options):
    """Where vectors are added, those of the first kept block are added at the input."""
    whole = make_model(seed=3, **options)
    pruned = make_model(seed=4, **options, **KEPT)
    cfg = OmegaConf.create({"_name": "floater_transformer", **KEPT})
    pruned.load_state_dict(copy.deepcopy(whole.state_dict()), strict=True, model_cfg=cfg)
    assert (len(pruned.encoder.layers), len(pruned.decoder.layers)) == (2, 1)
    with torch.no_grad():
        found, wanted = pruned(**make_batch())[0], without_blocks(whole)(**make_batch())[0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert (found - whole(**make_batch())[0]).abs().max() > 1e-3


@pytest.mark.parametrize("one", ["encoder", "decoder"])
def test_one_stack_may_be_pruned_alone(one):
    """fairseq's own pruning would drop all layers of the other; ours reads the model's options."""
    kept = {f"{one}_layers_to_keep": [1]}
    whole, pruned = make_model(seed=3), make_model(seed=4, **kept)
    pruned.load_state_dict(copy.deepcopy(whole.state_dict()), strict=True)
    layers = {name: len(getattr(pruned, name).layers) for name in ("encoder", "decoder")}
    assert layers == {"encoder": 3, "decoder": 2, one: 1}
    for name, weight in whole.state_dict().items():
        if name.startswith(f"{one}.layers.1."):
            found = pruned.state_dict()[name.replace(".layers.1.", ".layers.0.")]
            assert torch.equal(found, weight)
    again = make_model(seed=5, **kept)  # its own checkpoint is pruned already
    again.load_state_dict(copy.deepcopy(pruned.state_dict()), strict=True)
    with torch.no_grad():
        assert torch.equal(again(**make_batch())[0], pruned(**make_batch())[0])


def test_other_biases_are_refused_not_cut():
    """36 tracks are not cut to 18 as if they belonged to more blocks."""
    weights = make_model(seed=3).state_dict()
    for options in ({"position_attention": "self"}, {"position_blocks": "input"}):
        other = make_model(seed=4, **options)
        before = copy.deepcopy(other.state_dict())
        with pytest.raises(UserError, match="does not fit this model, nothing is loaded"):
            other.load_state_dict(copy.deepcopy(weights), strict=True)
        assert all(torch.equal(before[name], w) for name, w in other.state_dict().items())


def test_networks_of_each_block_are_refused_not_cut():
    fire = {"position_encoder": "fire", "fire_per_block": True}
    pruned = make_model(seed=4, **fire, **KEPT)
    with pytest.raises(
        UserError, match="position_encoder.c is 3 there, 2 here; .* 12 more weights"
    ):
        pruned.load_state_dict(make_model(seed=3, **fire).state_dict(), strict=True)


def test_the_only_block_with_biases_must_stay():
    with pytest.raises(UserError, match="leaves out layer 0, the only one with positions"):
        make_model(position_blocks="input", encoder_layers_to_keep="1,2")


def test_baked_tables_of_the_whole_model_are_left_aside():
    whole, pruned = make_model(seed=3), make_model(seed=4, **KEPT)
    weights = {**whole.state_dict(), **bake_tables(whole.stacks(), 20)}
    cfg = OmegaConf.create({"_name": "floater_transformer", **KEPT})
    pruned.load_state_dict(weights, strict=True, model_cfg=cfg)
    with torch.no_grad():
        found, wanted = (m.encoder.position_encoder(20) for m in (pruned, whole))
    torch.testing.assert_close(found, wanted[[0, 1, 2, 6, 7, 8]])


def test_from_the_command_line(corpus, tmp_path):
    """fairseq's own tests ask this of ``transformer_iwslt_de_en``, but of no plugin."""
    sizes = "--encoder-embed-dim 8 --decoder-embed-dim 8 --encoder-attention-heads 2 "
    train = ["train", corpus, *TRAINING, "--arch", "floater_transformer_iwslt_de_en"]
    train += [*sizes.split(), "--decoder-attention-heads", 2, "--max-epoch", 1]
    drop = ["--encoder-layerdrop", 0.01, "--decoder-layerdrop", 0.01]
    layers = ["--encoder-layers", 3, "--decoder-layers", 3]
    commands = {
        "drop": [*train, *layers, *drop, "--save-dir", tmp_path / "drop"],
        "few": [*train, *layers, "--encoder-layers-to-keep", "0,2", "--save-dir", tmp_path / "few"],
        "joint": [
            *(*train, "--no-cross-attention", "--cross-self-attention"),
            *("--save-dir", tmp_path / "joint"),
        ],
    }
    together(succeed, commands)
    generate = ["generate", corpus, *GENERATION, "--max-len-b", 5, "--path"]
    interactive = ["interactive", corpus, *GENERATION, "--source-lang", "de", "--target-lang", "en"]
    models = {name: tmp_path / name / "checkpoint_last.pt" for name in commands}
    overrides = ["--model-overrides", str(KEPT)]
    one = ["--model-overrides", str({name: "0" for name in KEPT})]
    uses = {
        "whole": [*generate, models["drop"], "--print-alignment"],
        "kept": [*generate, models["drop"], *overrides],
        "kept, interactive": [*interactive, "--path", models["drop"], *one],
        "joint": [*generate, models["joint"]],
        "few": [*generate, models["few"]],  # trained with two of three layers
        "joint, validated": [
            *("validate", corpus, *COMMON, "--path", models["joint"]),
            *("--task", "translation", "--valid-subset", "valid", "--batch-size", 8),
        ],
    }
    results = together(lambda *command: succeed(*command, input="a1 a2\n"), uses)
    hypotheses = {name: result.hypotheses() for name, result in results.items()}
    assert len(hypotheses["whole"]) == len(hypotheses["kept"]) == len(hypotheses["joint"]) == 12
    assert hypotheses["whole"] != hypotheses["kept"] and len(hypotheses["few"]) == 12
    assert set(hypotheses["kept, interactive"]) == {0}
    assert len(results["whole"].lines("A")) == 12
    assert len(results["joint, validated"].losses("valid")) == 1
