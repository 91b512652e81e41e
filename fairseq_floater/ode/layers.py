"""The linear layer of dynamics and encoders."""

from torch import Tensor, nn


class Linear(nn.Linear):
    """``nn.Linear`` that computes in the type of its input, whatever that of its parameters.

    Positions are computed in float32 in models of half precision too. The class is one of its own
    also for ``torch.ao.quantization.quantize_dynamic``, which replaces each ``nn.Linear``: what
    computes positions runs once for a length, and several of its forms read the weights. It has the
    name of torch's, by which tables that were baked into checkpoints are known (``models.baked``).
    """

    def forward(self, input: Tensor) -> Tensor:
        """(..., out_features), of the dtype of ``input`` (..., in_features)."""
        bias = None if self.bias is None else self.bias.to(input)
        return nn.functional.linear(input, self.weight.to(input), bias)
