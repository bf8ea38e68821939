"""BERT as the paper has it, of any size, with random weights."""

from __future__ import annotations

import math

import torch
from torch import nn


class _Attention(nn.Module):
    """Multi-head attention.

    Parameters
    ----------
    fused
        Whether PyTorch computes it by one operator.
    """

    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.heads, self.fused = heads, fused

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, rows, width = x.shape

        def heads(each: nn.Module) -> torch.Tensor:
            return each(x).view(batch, rows, self.heads, width // self.heads).permute(0, 2, 1, 3)

        query, key, value = map(heads, (self.query, self.key, self.value))
        if self.fused:
            found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            scores = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)
            found = (scores + mask).softmax(-1) @ value
        return self.output(found.permute(0, 2, 1, 3).reshape(batch, rows, width))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.attention, self.middle = _Attention(width, heads, fused=fused), nn.LayerNorm(width, eps=1e-12)
        self.inner, self.outer, self.end = (
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
            nn.LayerNorm(width, eps=1e-12),
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.middle(x + self.attention(x, mask))
        return self.end(x + self.outer(nn.functional.gelu(self.inner(x))))


class Bert(nn.Module):
    """The encoder and the pooled first row; takes ids of tokens, which of them count, and ids of segments."""

    def __init__(self, layers: int, width: int, heads: int, *, words: int = 500, fused: bool = False) -> None:
        super().__init__()
        self.words, self.segments = nn.Embedding(words, width), nn.Embedding(2, width)
        self.positions, self.norm = nn.Embedding(512, width), nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.ModuleList(_Block(width, heads, fused=fused) for _ in range(layers))
        self.pooler = nn.Linear(width, width)
        self.register_buffer("places", torch.arange(512)[None])

    def forward(
        self, tokens: torch.Tensor, counts: torch.Tensor, segments: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.words(tokens) + self.segments(segments) + self.positions(self.places[:, : tokens.shape[1]])
        x, mask = self.norm(x), (1.0 - counts[:, None, None, :].to(x.dtype)) * -10000.0
        for block in self.blocks:
            x = block(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))
