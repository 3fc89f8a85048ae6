"""Hugging Face's ``GPT2LMHeadModel``, built from a configuration at the size asked for, in a plain loop.

In its fast form: fused attention, PyTorch's own GELU, no cache of keys and values.
"""

from __future__ import annotations

from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.gpt import VOCABULARY, Setting, Step, plain_step, run


def make_step(setting: Setting, precision: str) -> tuple[nn.Module, Step]:
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=setting.context,
        n_embd=setting.d_model,
        n_layer=setting.n_layers,
        n_head=setting.n_heads,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="sdpa",
    )
    model = GPT2LMHeadModel(config).train()
    return model, plain_step(model, lambda inputs: model(inputs).logits, precision)


if __name__ == "__main__":
    run(make_step)
