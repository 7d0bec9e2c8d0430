"""Blocks that the transformers share: self-attention, perceptrons, layer scale."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017), queries, keys and values from one matrix.

    With H heads of width d: softmax(Q K^T / sqrt(d)) V for each head, heads side by side, then a projection.

    Parameters
    ----------
    width : int
        H · d.
    heads : int
    bias : bool
        Whether queries, keys and values have a bias.
    output : str
        Name of the projection: ``proj`` in timm's checkpoints, ``out_proj`` in MONAI's.
    """

    def __init__(self, width: int, heads: int, bias: bool = True, output: str = "proj") -> None:
        super().__init__()
        self.heads = heads
        self.output = output
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.add_module(output, nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens of shape (batch, n, width) to the same shape."""
        batch, n, width = tokens.shape
        parts = self.qkv(tokens).reshape(batch, n, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.get_submodule(self.output)(mixed.transpose(1, 2).reshape(batch, n, width))
        return result


class Perceptron(nn.Module):
    """Two layers with GELU between; the layers' names differ between libraries."""

    def __init__(self, width: int, hidden: int, names: tuple[str, str] = ("fc1", "fc2")) -> None:
        super().__init__()
        self.names = names
        self.add_module(names[0], nn.Linear(width, hidden))
        self.add_module(names[1], nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        first, second = (self.get_submodule(name) for name in self.names)
        result: Tensor = second(functional.gelu(first(tokens)))
        return result


class GatedPerceptron(nn.Module):
    """SwiGLU (Shazeer 2020): W2 (SiLU(a) * b), where W1 x = [a, b], packed in one matrix of 2 · hidden rows."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        gate, value = self.fc1(tokens).chunk(2, dim=-1)
        result: Tensor = self.fc2(functional.silu(gate) * value)
        return result


class LayerScale(nn.Module):
    """A learnt factor for each channel of a residual branch (Touvron et al. 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return tokens * self.gamma
