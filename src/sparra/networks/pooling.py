"""Attention that turns many tokens into one."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class AttentionalPooler(nn.Module):
    """Learnt queries that attend to all tokens (CoCa, Yu et al. 2022), as in CONCH's checkpoint.

    Parameters
    ----------
    width : int
        Of queries and output.
    token_width : int
    heads, queries : int
    """

    def __init__(self, width: int, token_width: int, heads: int, queries: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(queries, width))
        self.attn = nn.MultiheadAttention(width, heads, kdim=token_width, vdim=token_width, batch_first=True)
        self.ln_q = nn.LayerNorm(width)
        self.ln_k = nn.LayerNorm(token_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, n, token_width) to (batch, queries, width)."""
        keys = self.ln_k(tokens)
        query = self.ln_q(self.query).expand(len(tokens), -1, -1)
        result: Tensor = self.attn(query, keys, keys, need_weights=False)[0]
        return result


class BiasFreePooler(nn.Module):
    """The pooler of CONCH v1.5: as `AttentionalPooler`, with separate matrices and no biases."""

    def __init__(self, width: int, token_width: int, heads: int, queries: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(queries, width))
        self.ln_k = nn.LayerNorm(token_width)
        self.ln_q = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(token_width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, n, token_width) to (batch, queries, width)."""
        key, value = (self._split(part) for part in self.to_kv(self.ln_k(tokens)).chunk(2, dim=-1))
        query = self._split(self.to_q(self.ln_q(self.query)).expand(len(tokens), -1, -1))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return result

    def _split(self, tokens: Tensor) -> Tensor:
        batch, n, width = tokens.shape
        return tokens.reshape(batch, n, self.heads, width // self.heads).transpose(1, 2)


class GatedAttention(nn.Module):
    """Score of each row of a bag: w (tanh(V h) * sigmoid(U h)) (Ilse et al. 2018), as in CLAM's checkpoints."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.attention_a = nn.Sequential(nn.Linear(width, hidden), nn.Tanh())
        self.attention_b = nn.Sequential(nn.Linear(width, hidden), nn.Sigmoid())
        self.attention_c = nn.Linear(hidden, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (n, width) to scores (n, 1)."""
        result: Tensor = self.attention_c(self.attention_a(rows) * self.attention_b(rows))
        return result
