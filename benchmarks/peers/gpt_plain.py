"""A GPT as someone writes it in an afternoon, in the manner of nanoGPT: one projection for queries, keys and values, torch's
fused attention, a plain loop."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.gpt import VOCABULARY, Setting, Step, plain_step, run


class Layer(nn.Module):
    """Pre-norm attention and feed-forward; B batch, T positions, D model, H heads."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.first_norm, self.second_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.projections, self.mix = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.hidden, self.output = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.projections(self.first_norm(x)).split(width, dim=2)  # three of (B, T, D)
        query, key, value = (part.view(batch, length, self.n_heads, -1).transpose(1, 2) for part in parts)
        z = functional.scaled_dot_product_attention(query, key, value, is_causal=True)  # (B, H, T, D / H)
        x = x + self.mix(z.transpose(1, 2).reshape(batch, length, width))
        out: Tensor = x + self.output(functional.gelu(self.hidden(self.second_norm(x))))
        return out


class GPT(nn.Module):
    """Tied embedding, learned positions, layers, a last norm."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, setting.d_model)
        self.positions = nn.Embedding(setting.context, setting.d_model)
        self.layers = nn.Sequential(*(Layer(setting.d_model, setting.n_heads) for _ in range(setting.n_layers)))
        self.norm = nn.LayerNorm(setting.d_model)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions(torch.arange(ids.shape[1]))
        return functional.linear(self.norm(self.layers(x)), self.embedding.weight)


def make_step(setting: Setting, precision: str) -> tuple[nn.Module, Step]:
    model = GPT(setting).train()
    return model, plain_step(model, model, precision)


if __name__ == "__main__":
    run(make_step)
