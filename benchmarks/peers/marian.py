"""Hugging Face's Marian model, built from a configuration at the size asked for, in the same plain loop.

Runs in an environment of its own that has ``transformers``; ``benchmarks/README.md`` has the command.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import MarianConfig, MarianMTModel  # type: ignore[import-not-found]

from benchmarks.contender import (
    BETAS,
    END,
    EPSILON,
    LABEL_SMOOTHING,
    LEARNING_RATE,
    PAD,
    START,
    VOCABULARY,
    Batch,
    Size,
    Step,
    run,
)


def configuration(size: Size, longest: int) -> MarianConfig:
    """The paper's model in Marian's terms: ReLU, scaled and tied embeddings, no dropout but the paper's."""
    return MarianConfig(
        vocab_size=VOCABULARY,
        d_model=size.d_model,
        encoder_layers=size.n_layers,
        decoder_layers=size.n_layers,
        encoder_attention_heads=size.n_heads,
        decoder_attention_heads=size.n_heads,
        encoder_ffn_dim=size.d_ff,
        decoder_ffn_dim=size.d_ff,
        activation_function="relu",
        scale_embedding=True,
        dropout=size.dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        max_position_embeddings=longest,
        use_cache=False,
        pad_token_id=PAD,
        bos_token_id=START,
        decoder_start_token_id=START,
        eos_token_id=END,
        forced_eos_token_id=END,
    )


def make_step(size: Size, batches: list[Batch], precision: str) -> Step:
    torch.manual_seed(1)
    tensors = [(torch.from_numpy(batch.source), torch.from_numpy(batch.target)) for batch in batches]
    longest = max(max(source.shape[1], target.shape[1]) for source, target in tensors)
    model = MarianMTModel(configuration(size, longest)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, fused=True)

    def step(index: int) -> int:
        source, target = tensors[index]
        labels = target[:, 1:].flatten()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            output = model(input_ids=source, attention_mask=source != PAD, decoder_input_ids=target[:, :-1])
            logits = output.logits.flatten(0, 1)  # (batch x target, vocabulary)
            loss = functional.cross_entropy(logits, labels, ignore_index=PAD, label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return batches[index].target_tokens

    return step


if __name__ == "__main__":
    run(make_step, packages=("torch", "transformers"))
