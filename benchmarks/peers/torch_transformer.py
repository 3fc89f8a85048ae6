"""``torch.nn.Transformer`` in a plain loop: what someone writes who needs a translator and finds the layers in PyTorch.

The fast form of that loop: the causal mask comes with its hint, so that the fused kernel is used, and Adam is the
fused one. Dropout works where the paper has it, as for the others; left alone, the module also drops attention
weights, which is slower.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.contender import (
    BETAS,
    EPSILON,
    LABEL_SMOOTHING,
    LEARNING_RATE,
    PAD,
    VOCABULARY,
    Batch,
    Size,
    Step,
    run,
)


class Translator(nn.Module):
    """Tied embeddings and sinusoidal positions around ``nn.Transformer``.

    B batch, S source, T target, D model, V vocabulary.
    """

    def __init__(self, size: Size, longest: int) -> None:
        super().__init__()
        self.scale = math.sqrt(size.d_model)
        self.embedding = nn.Embedding(VOCABULARY, size.d_model, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=1 / self.scale)
        self.register_buffer("positions", _sinusoids(longest, size.d_model), persistent=False)
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(longest), persistent=False)
        self.dropout = nn.Dropout(size.dropout)
        shape = (size.d_model, size.n_heads, size.n_layers, size.n_layers, size.d_ff)
        self.transformer = nn.Transformer(*shape, dropout=size.dropout, batch_first=True)
        for module in self.transformer.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                module.dropout.p = 0.0  # the one inside the feed-forward

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        padding = source == PAD  # (B, S); the target needs none: its padding stands behind every real token
        length = target.shape[1]
        decoded = self.transformer(
            self._embed(source),  # (B, S, D)
            self._embed(target),  # (B, T, D)
            tgt_mask=self.get_buffer("causal")[:length, :length],
            tgt_is_causal=True,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return functional.linear(decoded, self.embedding.weight)  # (B, T, V)

    def _embed(self, ids: Tensor) -> Tensor:
        summed = self.embedding(ids) * self.scale + self.get_buffer("positions")[: ids.shape[1]]
        dropped: Tensor = self.dropout(summed)
        return dropped


def _sinusoids(length: int, d_model: int) -> Tensor:
    """The paper's positions (section 3.5), ``(length, d_model)``."""
    rates = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))
    angles = torch.arange(length).unsqueeze(1) * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)


def make_step(size: Size, batches: list[Batch], precision: str) -> Step:
    torch.manual_seed(1)
    tensors = [(torch.from_numpy(batch.source), torch.from_numpy(batch.target)) for batch in batches]
    longest = max(max(source.shape[1], target.shape[1]) for source, target in tensors)
    model = Translator(size, longest).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, fused=True)

    def step(index: int) -> int:
        source, target = tensors[index]
        labels = target[:, 1:].flatten()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(source, target[:, :-1]).flatten(0, 1)  # (B T, V)
            loss = functional.cross_entropy(logits, labels, ignore_index=PAD, label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return batches[index].target_tokens

    return step


if __name__ == "__main__":
    run(make_step)
