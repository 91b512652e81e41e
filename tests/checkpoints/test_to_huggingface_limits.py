"""Models for transformers: the end of learned tables, outputs that are kept, and unknown words."""

import json

import pytest
import torch
from conftest import make_batch, make_model
from saved import save_floater

from fairseq_floater import cli
from fairseq_floater.checkpoints.export import Lengths
from fairseq_floater.checkpoints.export.huggingface.model import build_exported
from fairseq_floater.checkpoints.export.huggingface.remote.tokenization_floater import (
    FloaterTokenizer,
)

SHORT = {"max_source_positions": 40, "max_target_positions": 12}
#: models whose decoder reads no positions of the source
OWN = {
    "learned at the input": {"position_encoder": "learned", "position_blocks": "input"},
    "learned base": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "self-attention": {
        "position_encoder": "learned",
        "position_injection": "bias",
        "position_attention": "self",
    },
}


def given(source, target):
    batch = make_batch((source, 3), (target, 4))
    ids, words = batch["src_tokens"], batch["prev_output_tokens"]
    return batch, {
        "input_ids": ids,
        "attention_mask": ids.ne(1).long(),
        "decoder_input_ids": words,
        "decoder_attention_mask": words.ne(1).long(),
    }


@pytest.mark.parametrize("name", OWN)
def test_a_short_table_of_the_decoder_takes_long_sources(name):
    model = make_model(**SHORT, **OWN[name])
    lengths = Lengths.of(model)
    assert lengths == Lengths(40, 12)
    exported = build_exported(model, lengths)
    batch, arguments = given(36, 11)
    with torch.no_grad():
        wanted, found = model(**batch)[0], exported(**arguments).logits
        tokens = arguments["decoder_attention_mask"].bool()
        assert (wanted - found)[tokens].abs().max() < 1e-5
        del arguments["decoder_input_ids"], arguments["decoder_attention_mask"]
        written = exported.generate(**arguments, num_beams=2)
    assert written.size(1) <= 13  # including the token that it starts from
    assert (
        exported.generation_config.max_new_tokens == 12 == exported.config.max_position_embeddings
    )
    assert build_exported(make_model(), Lengths(6, 7)).generation_config.max_new_tokens == 201


def test_a_table_that_serves_the_source_too_says_so():
    both = {"position_encoder": "learned", "position_injection": "bias"}
    assert Lengths.of(make_model(**SHORT, **both, position_attention="both")) == Lengths(12, 12)


def test_what_is_inside_is_kept_if_it_is_asked_for():
    exported = build_exported(make_model(), Lengths(6, 7))
    _, arguments = given(5, 7)
    with torch.no_grad():
        encoded = exported.encoder(arguments["input_ids"])
        out = exported(**arguments)
        assert encoded.attentions is encoded.hidden_states is None
        assert out.cross_attentions is out.decoder_attentions is out.decoder_hidden_states is None
        encoded = exported.encoder(arguments["input_ids"], output_attentions=True)
        out = exported(**arguments, output_attentions=True, output_hidden_states=True)
    assert len(encoded.attentions) == 3 and encoded.hidden_states is None
    assert len(out.cross_attentions) == 2 and len(out.decoder_hidden_states) == 3


def test_an_unknown_word_is_written_as_fairseq_does(tmp_path):
    words = ["<s>", "<pad>", "</s>", "<unk>", "w0", "w1"]
    for side in ("source", "target"):
        (tmp_path / f"{side}.json").write_text(json.dumps(words))
    tokenizer = FloaterTokenizer(str(tmp_path / "source.json"), str(tmp_path / "target.json"))
    for ids in ([2, 4, 3, 5, 2, 1], torch.tensor([2, 4, 3, 5, 2, 1])):
        assert tokenizer.decode(ids, skip_special_tokens=True) == "w0 <unk> w1"
    assert tokenizer.convert_ids_to_tokens(3) == "<unk>"
    assert tokenizer.convert_ids_to_tokens([2, 4]) == ["</s>", "w0"]


def test_names_of_classes_are_for_models_that_have_some(tmp_path, capsys):
    checkpoint = save_floater(tmp_path / "model.pt")
    command = ["export", checkpoint, tmp_path / "out", "--to", "huggingface", "--data", tmp_path]
    assert cli.main([str(part) for part in [*command, "--labels", "dict.txt"]]) == 1
    assert "--labels dict.txt is for a floater_roberta: leave it out" in capsys.readouterr().err
