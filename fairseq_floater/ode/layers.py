"""The linear layer of dynamics and encoders."""

from torch import Tensor, nn


class Linear(nn.Module):
    """``nn.Linear`` that computes in the type of its input, whatever that of its parameters.

    Positions are computed in float32 in models of half precision too. It is no ``nn.Linear``, since
    those are replaced by ``torch.ao.quantization.quantize_dynamic`` and by fairseq's
    ``--quant-noise-scalar``: what computes positions runs once for a length, and several of its
    forms read the weights. Its name and text are torch's, by which tables that were baked into
    checkpoints are known (``models.baked``).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        made = nn.Linear(in_features, out_features, bias)
        self.in_features, self.out_features = in_features, out_features
        self.weight, self.bias = made.weight, made.bias

    extra_repr = nn.Linear.extra_repr

    def forward(self, input: Tensor) -> Tensor:
        """(..., out_features), of the dtype of ``input`` (..., in_features)."""
        bias = None if self.bias is None else self.bias.to(input)
        return nn.functional.linear(input, self.weight.to(input), bias)
