"""Compare models on the device of pretended.py with the same models on the CPU.

    python elsewhere.py < OPTIONS

OPTIONS is JSON: each model's options by its name, or null for fairseq's own ``transformer``. For
each model, one line of JSON is printed. For training, for decoding and for the model exported to
transformers, it has the largest difference from the CPU, relative to the largest value or to 0.001
if that is larger, and the names of the operations that the program would have waited for.
"""

import copy
import json
import sys

import torch
from conftest import make_batch, make_model, make_stock, steps
from pretended import DEVICE, Pretending, There, waits

from fairseq_floater.checkpoints.export import Lengths
from fairseq_floater.checkpoints.export.huggingface.model import build_exported

SIZES = {"encoder_layers": 2, "decoder_layers": 1}


def trained(model, batch):
    """Return the logits and gradients of an update, on a batch as fairseq's task makes them."""
    model.decoder.left_pad_target = False
    torch.manual_seed(1)  # for shifts
    logits = model.train()(**batch)[0]
    logits.square().mean().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return [logits.detach(), *(gradient for gradient in gradients if gradient is not None)]


@torch.no_grad()
def decoded(model, batch):
    """Return the logits of three steps."""
    return [logits for _, logits in steps(model.eval(), batch, 3)]


@torch.no_grad()
def exported(model, batch):
    """Return the logits of an exported model whose tables are shorter than the source."""
    source, target = batch["src_tokens"], batch["prev_output_tokens"]
    masks = {"attention_mask": source.ne(1).long(), "decoder_attention_mask": target.ne(1).long()}
    return [model(input_ids=source, decoder_input_ids=target, **masks).logits]


def there(compute, model, batch):
    """Return what ``compute`` returns on the device, as CPU tensors, and what it waited for.

    Both are from a second call, since the first one may prepare what is kept between calls.
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
