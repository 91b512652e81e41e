"""Models on the device of pretended.py, beside the same models on the CPU.

    python elsewhere.py < OPTIONS

OPTIONS, in JSON, are those of a model by its name, and null for fairseq's own ``transformer``. For
each model one line of JSON: in training, in decoding and as transformers has it once exported, the
largest difference from the CPU, relative to the largest value, or to 0.001 if that is larger, and
the names of what the program would have waited for.
"""

import copy
import json
import sys

import torch
from conftest import make_batch, make_model, make_stock, steps
from pretended import DEVICE, Pretending, There, waits

from fairseq_floater.checkpoints.export import Lengths
from fairseq_floater.checkpoints.export.huggingface.model import build_exported

SIZES = {"encoder_layers": 1, "decoder_layers": 1}


def trained(model, batch):
    """Logits and gradients of an update, of the kind of batches that fairseq's task has."""
    model.decoder.left_pad_target = False
    torch.manual_seed(1)  # for shifts
    logits = model.train()(**batch)[0]
    logits.square().mean().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return [logits.detach(), *(gradient for gradient in gradients if gradient is not None)]


@torch.no_grad()
def decoded(model, batch):
    """Logits of two steps."""
    return [logits for _, logits in steps(model.eval(), batch, 2)]


@torch.no_grad()
def exported(model, batch):
    """Logits of an exported model, whose tables are shorter than the source."""
    source, target = batch["src_tokens"], batch["prev_output_tokens"]
    masks = {"attention_mask": source.ne(1).long(), "decoder_attention_mask": target.ne(1).long()}
    return [model(input_ids=source, decoder_input_ids=target, **masks).logits]


def there(compute, model, batch):
    """What ``compute`` returns there, on the CPU again, and what it waited for.

    The second time: the first one may prepare what is kept.
    """
    with Pretending():
        model.to(DEVICE)
        batch = {name: tensor.to(DEVICE) for name, tensor in batch.items()}
        compute(model, batch)
        model.zero_grad()
        waits.clear()
        values = compute(model, batch)
    assert all(isinstance(value, There) for value in values)
    return [value.here for value in values], list(waits)


def difference(found, wanted):
    pairs = zip(found, wanted, strict=True)
    return float(torch.stack([relative(*pair) for pair in pairs]).max())  # NaN if any is


def relative(found, wanted):
    return (found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3)


if __name__ == "__main__":
    for name, options in json.load(sys.stdin).items():
        result = {"name": name}
        for compute in (trained, decoded, *([] if options is None else [exported])):
            model = make_stock(**SIZES) if options is None else make_model(**SIZES, **options)
            batch = make_batch()
            if compute is exported:
                model = build_exported(model, Lengths(6, 7))
            wanted = compute(copy.deepcopy(model), batch)
            found, waited = there(compute, model, batch)
            result[compute.__name__] = (difference(found, wanted), waited)
        print(json.dumps(result))
