"""The linear layer of dynamics and encoders."""

from torch import Tensor, nn


class Linear(nn.Module):
    """A linear layer that computes in the type of its input, whatever type its parameters have.

    Positions are computed in float32 in models of half precision as well. It is not a subclass of
    ``nn.Linear``, since ``torch.ao.quantization.quantize_dynamic`` and fairseq's
    ``--quant-noise-scalar`` replace those. This one must stay: what computes positions runs once
    per length, and several of its forms read the weights. Its name and its printed form are
    torch's, because tables baked into checkpoints are recognised by them (``models.baked``).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        made = nn.Linear(in_features, out_features, bias)
        self.in_features, self.out_features = in_features, out_features
        self.weight, self.bias = made.weight, made.bias

    extra_repr = nn.Linear.extra_repr

    def forward(self, input: Tensor) -> Tensor:
        """Return (..., out_features), of the dtype of ``input`` (..., in_features)."""
        bias = None if self.bias is None else self.bias.to(input)
        return nn.functional.linear(input, self.weight.to(input), bias)
