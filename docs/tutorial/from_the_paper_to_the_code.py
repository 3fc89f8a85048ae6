# %% [markdown]
# # From the paper to the code
#
# This page walks through "Attention Is All You Need" (Vaswani et al., 2017), section by section. For each one it says in a
# few words what the paper states, gives the equation, names the file that holds it, and runs that file on numbers small
# enough to print. Every `assert` compares the package with the equation, computed once more by hand.
#
# Have the paper open. You need Python and linear algebra, nothing else. The page is a plain Python file:
#
#     python docs/tutorial/from_the_paper_to_the_code.py
#
# It is also a notebook. Editors that know `# %%` cells open it as one.
#
# Letters, here and in the comments of the code: B sentences in a batch, S source positions, T target positions, H heads,
# D width of the model (d_model), K width of a head (d_head), V entries of the vocabulary.

# %%
# Imports stand where they are first needed, as the text goes on.
# ruff: noqa: E402
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch


def show(title, matrix, rows, columns=None):
    """Print a matrix with names at its rows and columns."""
    matrix = np.asarray(matrix)
    columns = columns or [str(number) for number in range(matrix.shape[1])]
    left, wide = max(map(len, rows)), max(7, *(len(name) + 1 for name in columns))
    print(title)
    print(" " * left + "".join(f"{name:>{wide}}" for name in columns))
    for name, numbers in zip(rows, matrix.tolist(), strict=True):
        print(f"{name:>{left}}" + "".join(f"{number:{wide}.2f}" for number in numbers))
    print()


def agree(ours, by_hand):
    """Whether two results are equal to rounding error."""
    return np.allclose(np.asarray(ours), np.asarray(by_hand), rtol=0, atol=1e-12)


# %% [markdown]
# ## Sections 1 and 2. Why attention
#
# A recurrent network reads a sentence one word after the other: $h_t = f(h_{t-1}, x_t)$. So it cannot compute position $t$
# before position $t - 1$, and what the first word says reaches the last one through every step in between. Attention joins
# any two positions directly, and computes all positions at once. That is the paper's whole reason.
#
# We can watch the long way and the short one. How far does the last output move when the first input does? Through the
# steps its effect shrinks by a factor a step. By attention it only has to share with the other positions.

# %%
generator = torch.Generator().manual_seed(1)
transition = 0.5 * torch.randn(4, 4, generator=generator)
inputs = torch.randn(100, 41, 4, generator=generator)  # a hundred sequences of random vectors


def recurrent(x):
    state = torch.zeros(len(x), 4)
    for t in range(x.shape[1]):  # one after the other
        state = torch.tanh(state @ transition + x[:, t])
    return state


def attentive(x):
    last = x[:, -1:]  # the last position asks all of them at once
    return torch.softmax(last @ x.transpose(1, 2) / 2, dim=-1) @ x


def effect_of_first(read, distance):
    """How far the last output moves for a small step of the first input, on average."""
    x = inputs[:, : distance + 1].clone().requires_grad_()
    read(x).sum().backward()
    return x.grad[:, 0].norm(dim=-1).mean().item()


print("distance   recurrent   attention")
for distance in (1, 10, 20, 40):
    through_steps, direct = effect_of_first(recurrent, distance), effect_of_first(attentive, distance)
    print(f"{distance:>8} {through_steps:>11.1e} {direct:>11.1e}")
print()
assert through_steps < 1e-3 * direct  # at a distance of 40

# %% [markdown]
# The networks that were replaced are here, too, behind the same commands (`architecture: lstm`): one step in
# `pellucid/model/recurrent.py`, encoders, decoders and their attention in `pellucid/model/recurrent_stacks.py`, whole models in
# `pellucid/model/recurrent_models.py`.

# %% [markdown]
# ## Section 3. The architecture (Figure 1)
#
# An encoder turns the source $x_1 \dots x_S$ into vectors. A decoder writes the target one token at a time and takes in what
# it has written so far:
#
# $$ p(y \mid x) = \prod_t p(y_t \mid y_1 \dots y_{t-1}, x) $$
#
# Each box of Figure 1 is a file in `pellucid/model/`. `pellucid/model/transformer.py` is the figure as a whole (and either
# half of it alone), `pellucid/model/build.py` puts the boxes together as a configuration says.
#
# Our model is as small as a whole block can be: $d_{model} = 4$, two heads, two layers a side, nine words. It computes in
# float64 here, so that "equal" means twelve digits. Its weights are random: it knows nothing yet, and the equations do not
# mind.

# %%
from pellucid.base.config import ModelConfig, StackConfig
from pellucid.model.build import build, initialise

words = ["<pad>", "<unk>", "<s>", "</s>", "jane", "visite", "paris", "is", "visiting"]
PAD, UNKNOWN, START, END = range(4)

stack = StackConfig(n_layers=2, n_heads=2, d_ff=6)
config = ModelConfig(
    d_model=4,
    encoder=stack,
    decoder=stack,
    max_length=16,
    source_vocabulary=len(words),
    target_vocabulary=len(words),
)
model = build(config).double()
initialise(model, seed=1)
model.eval()


def ids(text):
    """A batch of one sentence: (1, length)."""
    return torch.tensor([[words.index(word) for word in text.split()]])


source = ids("jane visite paris </s>")  # (1, S)
target = ids("<s> jane is visiting paris")  # (1, T), what the decoder is fed: the target, shifted right by <s>
wanted = ids("jane is visiting paris </s>")  # (1, T), what it shall predict: one word further at every position
source_words = [words[token] for token in source[0]]
target_words = [words[token] for token in target[0]]

# %% [markdown]
# **Taps.** `forward(..., tap=f)` calls `f(name, tensor)` at every named step and goes on with the tensor that `f` returns. A
# tap that returns its tensor unchanged only looks. `pellucid/base/taps.py` holds the table of all names.

# %%


def record(*inputs, **more):
    """Run the model once and keep what comes by its taps."""
    seen = {}

    def tap(name, tensor):
        seen[name] = tensor
        return tensor

    with torch.no_grad():
        model(*inputs, tap=tap, **more)
    return seen


seen = record(source, target)


def get(name):
    """What a tap saw, of our one sentence, as an array."""
    return seen[name][0].numpy()


def weights_of(linear):
    """W and b of a projection, for x W + b. (PyTorch keeps the transpose of W.)"""
    return linear.weight.detach().numpy().T, linear.bias.detach().numpy()


print("Figure 1 as the forward goes through it: encoder layer 0")
for name, tensor in seen.items():
    if name.startswith("encoder.layers.0."):
        print(f"  {name:<42} {tuple(tensor.shape[1:])}")
print()

with torch.no_grad():
    logits = model(source, target)  # (B, T, V)
assert agree(logits[0], get("logits"))  # looking changes nothing

log_p = torch.log_softmax(logits[0], dim=-1)  # (T, V)
one_by_one = [log_p[t, word].item() for t, word in enumerate(wanted[0])]
print(f"p(target | source) = {math.exp(sum(one_by_one)):.1e}, chance would give {len(words) ** -len(one_by_one):.1e}\n")

# %% [markdown]
# ## Section 3.1. Stacks, add & norm
#
# The encoder is a stack of N = 6 layers with two sublayers each: self-attention and a feed-forward network. A decoder layer
# has a third one between them: attention to the encoder. Depth is a setting; it has nothing to do with the number of words.
# Around every sublayer lies a residual connection, then layer normalisation:
#
# $$ \mathrm{LayerNorm}(x + \mathrm{Sublayer}(x)), \qquad
#    \mathrm{LayerNorm}(r) = g \odot \frac{r - \mu}{\sqrt{\sigma^2 + \epsilon}} + b, \qquad
#    \mu = \frac{1}{D} \sum_i r_i, \quad \sigma^2 = \frac{1}{D} \sum_i (r_i - \mu)^2 $$
#
# Files: `pellucid/model/encoder.py`, `pellucid/model/decoder.py`, `pellucid/model/block.py` (the one layer of both; its
# projections may be those of `pellucid/model/lora.py`), and `pellucid/model/residual.py`, the only one that knows
# the order of sum and norm. Two details decide whether numbers match: the variance divides by $D$, not by $D - 1$, and
# $\epsilon$ stands inside the root.

# %%
residual = get("encoder.embed.out") + get("encoder.layers.0.self_attn.out")  # x + Sublayer(x)
assert agree(get("encoder.layers.0.self_attn_residual"), residual)

norm = model.encoder.layers[0].self_attn_residual.norm
gain, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()


def layer_norm(r, degrees_of_freedom):
    mean = r.mean(axis=-1, keepdims=True)
    variance = ((r - mean) ** 2).sum(axis=-1, keepdims=True) / degrees_of_freedom
    return gain * (r - mean) / np.sqrt(variance + norm.eps) + bias


assert agree(get("encoder.layers.0.self_attn_norm.out"), layer_norm(residual, 4))
assert not agree(get("encoder.layers.0.self_attn_norm.out"), layer_norm(residual, 4 - 1))
show("x + Sublayer(x)", residual, source_words)
show("and after the norm: each row has mean 0 and variance 1", get("encoder.layers.0.self_attn_norm.out"), source_words)

# Layers follow each other: what one hands out, the next one adds to.
assert agree(get("encoder.layers.1.self_attn_residual"), get("encoder.layers.0.out") + get("encoder.layers.1.self_attn.out"))

# %% [markdown]
# **Layer norm, not batch norm.** Layer norm takes mean and variance over the numbers of *one* vector. Batch norm takes them
# over the vectors of a batch, so that a sentence would come out differently in other company.
#
# **Why width 4?** Two numbers $(a, b)$ have the mean $(a + b) / 2$, and so become $(\pm 1, \mp 1)$: with $d_{model} = 2$ layer
# norm leaves a sign and nothing else.

# %%
alone, in_company = torch.tensor(residual[:1]), torch.tensor(residual)
with torch.no_grad():
    assert agree(norm(alone)[0], norm(in_company)[0])


def batch_norm(r):
    return (r - r.mean(0)) / (r.std(0, correction=0) + 1e-5)


assert not agree(batch_norm(in_company[:2])[0], batch_norm(in_company)[0])

pairs = torch.tensor([[3.0, 5.0], [-7.0, 100.0]])
print("layer norm of (3, 5) and of (-7, 100):", torch.nn.functional.layer_norm(pairs, (2,)).round(decimals=3).tolist(), "\n")

# %% [markdown]
# **Post-norm and pre-norm.** The paper's text and figure norm *after* the sum (`norm: post`, the default here). Its later code
# norms the sublayer's *input* instead (`norm: pre`), which trains deep stacks more easily. The sum itself then is never
# normalised, so each pre-norm stack ends with one norm more.

# %%


def n_parameters(config):
    with torch.device("meta"):  # shapes without memory
        return sum(weight.numel() for weight in build(config).parameters())


extra = n_parameters(replace(config, norm="pre")) - n_parameters(config)
print(f"pre-norm has {extra} parameters more: two norms of gain and bias, {config.d_model} numbers each\n")
assert extra == 2 * 2 * config.d_model

# %% [markdown]
# ## Section 3.2.1. Scaled dot-product attention
#
# Each position asks a question, its query. Each position offers a key to be found by, and a value to hand over. The match of
# query and key is their dot product. The softmax turns a row of matches into shares that sum to 1, and the result is the
# average of the values by these shares:
#
# $$ \mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left( \frac{Q K^T}{\sqrt{d_k}} \right) V $$
#
# $d_k$ is the width of one head, not of the model.
#
# File: `pellucid/model/attention.py`. `attend` is the fast form. `attend_in_steps` is the equation, one line a step, and what
# runs when somebody looks. Here it is once more, by hand.

# %%


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


place = "encoder.layers.0.self_attn"
q, k, v = get(f"{place}.q"), get(f"{place}.k"), get(f"{place}.v")  # (H, S, K) each

scores = q @ k.transpose(0, 2, 1)  # (H, S, S): rows ask, columns are asked
scaled = scores / math.sqrt(2)  # d_k = K = d_model / n_heads = 2
shares = softmax(scaled)
z = shares @ v  # (H, S, K)

for name, by_hand in {"scores": scores, "scaled": scaled, "weights": shares, "z": z}.items():
    assert agree(get(f"{place}.{name}"), by_hand), name

show("head 0: Q K^T", scores[0], source_words, source_words)
show("head 0: softmax(Q K^T / sqrt(2))", shares[0], source_words, source_words)
show("head 0: the average of the values", z[0], source_words)

jane = sum(q[0, 0, i] * k[0, 2, i] for i in range(2))
print(f"one cell: jane asks paris: {jane:.2f} = {q[0, 0, 0]:.2f} * {k[0, 2, 0]:.2f} + {q[0, 0, 1]:.2f} * {k[0, 2, 1]:.2f}\n")

# %% [markdown]
# **Why divide by $\sqrt{d_k}$?** If the numbers in $q$ and $k$ are independent with variance 1, then $q \cdot k$ has variance
# $d_k$. Wide heads would have large scores, and the softmax of large scores puts all its weight on one key. There its
# gradient is nearly zero, and nothing is learnt.

# %%
random = np.random.default_rng(1)
print(" d_k   std of q k   divided   largest of 8 shares: raw   divided")
for width in (4, 64, 1024):
    queries, keys = random.standard_normal((1000, 1, width)), random.standard_normal((1000, 8, width))
    dots = (queries * keys).sum(axis=-1)  # (1000, 8)
    divided = dots / math.sqrt(width)
    raw_share, share = softmax(dots).max(axis=-1).mean(), softmax(divided).max(axis=-1).mean()
    print(f"{width:>4} {dots.std():>12.1f} {divided.std():>9.2f} {raw_share:>26.2f} {share:>9.2f}")
    assert abs(divided.std() - 1) < 0.1
print()

# %% [markdown]
# ## Section 3.2.2. Multi-head attention
#
# One average per position can follow one thing at a time. So the paper lets $h$ heads attend side by side, each in a projection
# of its own, and mixes what they find with one more matrix:
#
# $$ \mathrm{MultiHead}(Q, K, V) = [\mathrm{head}_1; \dots; \mathrm{head}_h] \, W^O, \qquad
#    \mathrm{head}_i = \mathrm{Attention}(Q W_i^Q, K W_i^K, V W_i^V) $$
#
# File: `MultiHeadAttention` in `pellucid/model/attention.py`. The $W_i^Q$ of all heads are one matrix there; head $i$ has its
# columns. A head is $d_{model} / h$ wide, so many narrow heads cost what one wide head would. (The projections have biases,
# which the paper does not write; `model.bias: false` leaves them out.)

# %%
attention = model.encoder.layers[0].self_attn
x = get("encoder.embed.out")  # (S, D)

for letter, linear in (("q", attention.query), ("k", attention.key), ("v", attention.value)):
    W, b = weights_of(linear)
    for head in range(2):
        columns = slice(2 * head, 2 * head + 2)
        assert agree(get(f"{place}.{letter}")[head], x @ W[:, columns] + b[columns])

W_O, b_O = weights_of(attention.output)
concat = np.concatenate([z[0], z[1]], axis=-1)  # (S, H K)
assert agree(get(f"{place}.concat"), concat)
assert agree(get(f"{place}.out"), concat @ W_O + b_O)

# Concatenated and mixed is the same as: each head through its own rows of W^O, then the sum.
by_head = [z[head] @ W_O[2 * head : 2 * head + 2] for head in range(2)]
assert agree(get(f"{place}.out"), by_head[0] + by_head[1] + b_O)

# Self-attention has parameters: the four projections.
size = sum(weight.numel() for weight in attention.parameters())
assert size == 4 * (4 * 4 + 4)
print(f"parameters of one attention: {size}\n")

# %% [markdown]
# A tap may also change what it is given. We take head 1 away, before $W^O$ mixes it in. What is missing at the output is
# exactly that head's part.

# %%
changed = {}


def without_head_1(name, tensor):
    if name == f"{place}.z":
        tensor = tensor.clone()
        tensor[:, 1] = 0.0
    changed[name] = tensor
    return tensor


with torch.no_grad():
    model(source, target, tap=without_head_1)
missing = get(f"{place}.out") - changed[f"{place}.out"][0].numpy()
assert agree(missing, by_head[1])
show("what head 1 wrote", missing, source_words)

# %% [markdown]
# ## Section 3.2.3. The three uses of attention, and the mask
#
# | where | queries from | keys and values from | may not see |
# |---|---|---|---|
# | encoder self-attention | source | source | padding |
# | decoder self-attention | target so far | target so far | padding, and the future |
# | cross-attention | **decoder** | **encoder** | padding of the source |
#
# In cross-attention the decoder asks, because it wants to write the next word; the encoder is asked, because it knows the
# source. Every decoder layer reads the output of the *last* encoder layer: one vector for each source position, not one for
# the sentence.
#
# Files: `pellucid/model/block.py` for the roles, `pellucid/model/masks.py` for the masks;
# `pellucid/model/packing.py` leaves padding out while training.

# %%


def split(x):
    """(T, H K) -> (H, T, K)."""
    return x.reshape(len(x), 2, 2).transpose(1, 0, 2)


for number, layer in enumerate(model.decoder.layers):
    cross = f"decoder.layers.{number}.cross_attn"
    asking = get(f"decoder.layers.{number}.self_attn_norm.out")  # (T, D), what the decoder's sublayer below gives
    asked = get("encoder.out")  # (S, D), the same for both layers
    for letter, linear, x in (
        ("q", layer.cross_attn.query, asking),
        ("k", layer.cross_attn.key, asked),
        ("v", layer.cross_attn.value, asked),
    ):
        W, b = weights_of(linear)
        assert agree(get(f"{cross}.{letter}"), split(x @ W + b))

cross_weights = get("decoder.layers.0.cross_attn.weights")  # (H, T, S)
assert cross_weights.shape == (2, 5, 4)
assert agree(cross_weights.sum(axis=-1), np.ones((2, 5)))
show(
    "cross-attention, layer 0, head 0: rows ask (target), columns are asked (source)",
    cross_weights[0],
    target_words,
    source_words,
)

# %% [markdown]
# **The mask.** While training, the whole target goes in at once, so position $t$ must not look at the words after it: these
# are the answer. Their scores are set to $-\infty$ *before* the softmax, and $e^{-\infty} = 0$. Zeros put in *after* the
# softmax would leave rows that no longer sum to 1.

# %%
place = "decoder.layers.0.self_attn"
allowed = np.tril(np.ones((5, 5), dtype=bool))  # True = may attend, everywhere in the package
masked = np.where(allowed, get(f"{place}.scaled"), -np.inf)

assert np.array_equal(get(f"{place}.mask"), np.broadcast_to(allowed, (2, 5, 5)))
assert agree(get(f"{place}.masked"), masked)
assert agree(get(f"{place}.weights"), softmax(masked))
show("head 0: masked scores", masked[0], target_words, target_words)
show("head 0: their softmax", get(f"{place}.weights")[0], target_words, target_words)

too_late = softmax(get(f"{place}.scaled")) * allowed
print("sums of the rows, masked before the softmax:", get(f"{place}.weights")[0].sum(axis=-1).round(2).tolist())
print("sums of the rows, masked after it:          ", too_late[0].sum(axis=-1).round(2).tolist(), "\n")
assert too_late[0, 0].sum() < 0.99

# %% [markdown]
# What the mask is for: changing a later word changes nothing before it. So one pass over the whole target predicts every
# position as if the rest were not there yet, and training needs no loop over positions.

# %%
other = target.clone()
other[0, 3] = words.index("is")  # position 3 was "visiting"
other_logits = record(source, other)["logits"][0]
assert agree(other_logits[:3], get("logits")[:3])
assert not agree(other_logits[3], get("logits")[3])

# The same position by position, with keys and values of the earlier ones kept: `pellucid/model/cache.py`. (What makes such a
# step quick and changes nothing of it stands apart: `pellucid/model/packed.py`, `pellucid/model/few_rows.py`,
# `pellucid/model/many_rows.py`, `pellucid/model/ranking.py`, `pellucid/model/compiled_step.py` and
# `pellucid/model/compiled.py`.)
with torch.no_grad():
    state = model.start(model.encode(source))
    steps = [model.step(target[:, t : t + 1], state)[0] for t in range(5)]  # (1, 1, V) each
assert agree(torch.cat(steps, dim=1)[0], get("logits"))

# %% [markdown]
# **Padding** is masked the same way, in the encoder too. A short sentence beside a long one comes out as if it were alone.

# %%
short = "jane </s>"
batch = torch.cat([source, ids(f"{short} <pad> <pad>")])  # (2, 4)
real = batch != PAD
with torch.no_grad():
    alone = model.encode(ids(short)).states[-1]  # (1, 2, D)
    with_mask = model.encode(batch, real).states[-1]  # (2, 4, D)
    without_mask = model.encode(batch).states[-1]
assert agree(with_mask[1, :2], alone[0])
assert agree(with_mask[0], get("encoder.out"))
assert not agree(without_mask[1, :2], alone[0])

# %% [markdown]
# ## Section 3.3. Position-wise feed-forward networks
#
# After attention has moved information between positions, each position works on what it got, by itself, with the same
# weights everywhere:
#
# $$ \mathrm{FFN}(x) = \max(0, x W_1 + b_1) W_2 + b_2 $$
#
# The paper's hidden layer is four times as wide as the model (2048 and 512). File: `pellucid/model/feed_forward.py`.

# %%
feed_forward = model.encoder.layers[0].feed_forward
(W_1, b_1), (W_2, b_2) = weights_of(feed_forward.hidden), weights_of(feed_forward.output)

x = get("encoder.layers.0.self_attn_norm.out")  # (S, D)
hidden = np.maximum(0.0, x @ W_1 + b_1)  # (S, d_ff)
assert agree(get("encoder.layers.0.ffn.hidden"), hidden)
assert agree(get("encoder.layers.0.ffn.out"), hidden @ W_2 + b_2)
show("the hidden layer: what was below zero is gone", hidden, source_words)

# By itself: positions in another order give the same vectors in that order.
order = [2, 0, 3, 1]
with torch.no_grad():
    assert agree(feed_forward(torch.tensor(x))[order], feed_forward(torch.tensor(x[order])))

# %% [markdown]
# ## Section 3.4. Embeddings and softmax
#
# One matrix $E$, one row a word, serves three times: it embeds the source, it embeds the target, and its transpose gives the
# logits (tied weights). On the way in it is multiplied by $\sqrt{d_{model}}$:
#
# $$ e_t = \sqrt{d_{model}} \, E[y_t], \qquad p(\cdot) = \mathrm{softmax}(x E^T) $$
#
# The root belongs to the start: rows of $E$ begin with variance $1 / d_{model}$, so that logits begin with variance about 1.
# Times the root, the embedded words have variance 1 as well, and the positions that are added do not drown them.
#
# Files: `pellucid/model/embedding.py`, `pellucid/model/heads.py`; the model alone owns the matrix. Joint vocabularies come from
# `text.joint`, other ways to tie from `model.tie`. The rows may begin with vectors learnt before, from plain text
# (`pellucid/model/word_vectors.py`).

# %%
assert model.weight("source") is model.weight("target") is model.weight("output")
E = model.weight("output").detach().numpy()  # (V, D)

assert agree(get("encoder.embed.tokens"), E[source[0]])
assert agree(get("encoder.embed.scaled"), math.sqrt(4) * E[source[0]])
assert agree(get("logits"), get("decoder.out") @ E.T)
assert agree(get("probs"), softmax(get("logits")))

# Logits are log-probabilities up to one constant a row.
constants = np.log(get("probs")) - get("logits")  # (T, V)
assert agree(constants, np.repeat(constants[:, :1], len(words), axis=1))

show("p(next word), rows: the word fed in", get("probs"), target_words, words)

# %% [markdown]
# With these sizes a fresh model knows nothing and says so: its loss begins near $\ln V$, that of a guess among $V$ words.

# %%
V = 8000
shallow = StackConfig(n_layers=1, n_heads=4, d_ff=128)
larger = build(ModelConfig(d_model=64, encoder=shallow, decoder=shallow, source_vocabulary=V, target_vocabulary=V)).eval()
initialise(larger, seed=1)
some = torch.randint(4, V, (3, 8, 20), generator=generator)  # source, target, wanted of 8 random sentence pairs
with torch.no_grad():
    first_loss = torch.nn.functional.cross_entropy(larger(some[0], some[1]).flatten(0, 1), some[2].flatten()).item()
    embedded = math.sqrt(64) * larger.weight("source")
print(f"embedded words: standard deviation {embedded.std().item():.2f}")
print(f"first loss: {first_loss:.2f}, ln V: {math.log(V):.2f}\n")
assert abs(embedded.std().item() - 1) < 0.02
assert abs(first_loss / math.log(V) - 1) < 0.1

# %% [markdown]
# ## Section 3.5. Positional encoding
#
# Attention by itself does not know order. Permute the words, and the output vectors are the same ones, permuted: it is
# permutation-*equivariant*. (Not invariant: the vectors do change places.) So a vector for the position is added to each word:
#
# $$ PE(pos, 2i) = \sin \frac{pos}{10000^{2i / d_{model}}}, \qquad PE(pos, 2i + 1) = \cos \frac{pos}{10000^{2i / d_{model}}} $$
#
# Positions start at 0, and sines and cosines take turns. File: `pellucid/model/positions.py`.

# %%


def position_by_hand(pos, i, d_model=4):
    angle = pos / 10000 ** ((i - i % 2) / d_model)
    return math.cos(angle) if i % 2 else math.sin(angle)


PE = np.array([[position_by_hand(pos, i) for i in range(4)] for pos in range(4)])
assert agree(get("encoder.embed.positions"), PE)
assert agree(PE[0], [0, 1, 0, 1])
assert agree(get("encoder.embed.out"), get("encoder.embed.scaled") + PE)
show("PE(pos, i)", PE, [f"pos {pos}" for pos in range(4)])

# Why waves: a step of k positions is a rotation, the same one wherever it starts.
frequency = 1 / 10000 ** (2 / 4)  # of the second pair
turn = np.array([[math.cos(2 * frequency), -math.sin(2 * frequency)], [math.sin(2 * frequency), math.cos(2 * frequency)]])
for pos in (0, 1):  # two positions on: pos + 2
    assert agree(PE[pos + 2, 2:], PE[pos, 2:] @ turn)

# %%


def encode(sentence, positions):
    """The encoder's output, with positions or with zeros in their place."""

    def tap(name, tensor):
        return tensor if positions or not name.endswith("embed.positions") else torch.zeros_like(tensor)

    with torch.no_grad():
        return model.encode(sentence, tap=tap).states[-1][0].numpy()


permuted = source[:, order]
assert agree(encode(permuted, positions=False), encode(source, positions=False)[order])
assert not agree(encode(permuted, positions=True), encode(source, positions=True)[order])
print("without positions: permuted words, permuted vectors; with positions: another sentence\n")

# Positions count from the first real word: padding on the left changes nothing.
padded = torch.cat([ids("<pad> <pad>"), source], dim=1)
with torch.no_grad():
    assert agree(model.encode(padded, padded != PAD).states[-1][0, 2:], get("encoder.out"))

# %% [markdown]
# ## Section 4. Why self-attention (Table 1)
#
# The table compares layers on $n$ positions of width $d$ by three questions: how much is computed, how much of it must wait for
# something else, and how long the way between two positions is.
#
# | layer | operations | one after the other | longest way |
# |---|---|---|---|
# | self-attention | $n^2 d$ | 1 | 1 |
# | recurrent | $n d^2$ | $n$ | $n$ |
# | convolution, $k$ wide | $k n d^2$ | 1 | $\log_k n$ (dilated) |
# | self-attention to $r$ neighbours | $r n d$ | 1 | $n / r$ |
#
# So self-attention is the cheaper one while the sentence is shorter than the vectors are wide ($n < d$), which sentences are;
# and twice the length costs four times as much. We count what the two products of equation 1 really take.

# %%
from torch.utils.flop_counter import FlopCounterMode


def operations(n, d):
    """Multiplications of Q K^T and of the weights with V."""
    q = torch.ones(n, d)
    with FlopCounterMode(display=False) as counter:
        torch.softmax(q @ q.T / math.sqrt(d), dim=-1) @ q
    return counter.get_total_flops() // 2  # it counts an addition with each


d = 512
print("   n   self-attention    recurrent (n d^2)")
for n in (20, 40, 1000):
    print(f"{n:>4} {operations(n, d):>16,} {n * d * d:>20,}")
    assert operations(n, d) == 2 * n * n * d  # the table leaves constants out
print()
assert operations(40, d) == 4 * operations(20, d)

# %% [markdown]
# ## Section 5.1. Text and batches
#
# The paper splits words into pieces (byte-pair encoding): 37,000 of them, shared by English and German. So no word is
# unknown, and frequent words stay whole. File: `pellucid/text/tokenizer.py`.

# %%
from pellucid.base.config import TextConfig
from pellucid.text.tokenizer import Tokenizer

lines = ["Jane visite Paris.", "Jane is visiting Paris.", "Paris visite Jane ?", "Is Paris visiting Jane?"]
tokenizer = Tokenizer.train(lines, TextConfig(vocabulary=300))  # 4 control tokens, 256 bytes, and 40 learnt pieces at most
for text in ("Jane visite Paris.", "Jane visits Naïma."):
    print(" | ".join(tokenizer.tokens(tokenizer.encode(text))))
    assert tokenizer.decode(tokenizer.encode(text)) == text
print()

# %% [markdown]
# A batch is not a number of sentences but a number of tokens: about 25,000 a side, of sentences of similar length. Padding is
# computed and thrown away, so the fewer the better. File: `pellucid/data/batches.py`, where the plan of an epoch is a pure
# function of the lengths, the seed and the number of the epoch.

# %%
from pellucid.data.batches import plan

lengths = random.integers(3, 40, (500, 1)) + random.integers(0, 4, (500, 2))  # (N, 2) source, target
epoch = plan(lengths, tokens=400, seed=1, epoch=0)


def real_share(batches):
    """Real tokens of all there are, padding included; an end token belongs to each sentence."""
    return (lengths + 1).sum() / sum(len(batch) * (lengths[batch] + 1).max(axis=0).sum() for batch in batches)


batches = [epoch[number] for number in range(len(epoch))]
in_any_order = np.array_split(random.permutation(500), len(batches))
print(f"{len(batches)} batches; real tokens: {real_share(batches):.0%}, in any order: {real_share(in_any_order):.0%}\n")
assert sorted(np.concatenate(batches)) == list(range(500))  # every pair, once
assert all(len(batch) * (lengths[batch] + 1).max() <= 400 for batch in batches)
assert real_share(batches) > real_share(in_any_order)

# %% [markdown]
# ## Section 5.3. Optimizer and schedule
#
# Adam with $\beta_1 = 0.9$, $\beta_2 = 0.98$, $\epsilon = 10^{-9}$. The learning rate rises in a straight line for the
# warm-up, then falls with the root of the step:
#
# $$ lrate = d_{model}^{-0.5} \cdot \min(step^{-0.5}, \; step \cdot warmup^{-1.5}) $$
#
# Both branches meet at $step = warmup$, the peak. Steps count from 1. Files: `pellucid/training/schedule.py`, a pure
# function of the step, and `pellucid/training/step.py`. (5.2 is about hardware.)

# %%
from pellucid.base.config import OptimizerConfig
from pellucid.training.schedule import learning_rate
from pellucid.training.step import make_optimizer

paper = OptimizerConfig()  # the defaults are the paper's
print("   step   learning rate")
for step in (1, 1000, 4000, 16_000, 100_000):
    rate = learning_rate(step, paper, d_model=512, steps=100_000)
    by_hand = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
    assert agree(rate, by_hand)
    print(f"{step:>7} {rate:>15.2e}")
print()
rates = [learning_rate(step, paper, d_model=512, steps=100_000) for step in range(1, 8001)]
assert rates.index(max(rates)) + 1 == paper.warmup == 4000

adam = make_optimizer(model, paper)
assert all(group["betas"] == (0.9, 0.98) and group["eps"] == 1e-9 for group in adam.param_groups)

# %% [markdown]
# ## Section 5.4. Regularisation
#
# **Dropout** of 0.1 on the output of each sublayer, before it is added, and on the sums of embeddings and positions. The
# text names no other place: dropout on attention weights and inside the feed-forward are settings that begin at 0. File:
# `pellucid/model/dropout.py`, which on a CPU rounds $p$ to 1/256, and scales by what it rounded to.

# %%
from pellucid.model.dropout import Dropout

at_work = [name for name, module in model.named_modules() if isinstance(module, Dropout) and module.p == 0.1]
assert len(at_work) == 2 + 2 * 2 + 2 * 3  # two embeddings, two encoder layers, two decoder layers
with torch.random.fork_rng():
    torch.manual_seed(1)
    dropped = Dropout(0.1).train()(torch.ones(100_000))
print(f"dropout of ones: {(dropped == 0).float().mean():.3f} are zero, the mean is {dropped.mean():.3f}\n")
assert abs(dropped.mean().item() - 1) < 0.01

# %% [markdown]
# **Label smoothing.** The target is not "this word and no other". A share $\epsilon = 0.1$ of its probability is spread
# evenly over the vocabulary:
#
# $$ q_i = \frac{\epsilon}{V} + (1 - \epsilon) [i = y], \qquad loss = -\sum_i q_i \ln p_i, \qquad
#    \frac{\partial\, loss}{\partial\, logits} = p - q $$
#
# The paper says that this hurts perplexity and helps BLEU. The first is plain to see: the loss cannot fall below the entropy of
# $q$. File: `pellucid/training/loss.py`. (Some toolkits spread over the $V - 1$ other words; then numbers differ a little.)

# %%
from pellucid.training.loss import smoothed_cross_entropy

epsilon = 0.1
V = len(words)
q = np.full((5, V), epsilon / V) + (1 - epsilon) * np.eye(V)[wanted[0]]  # (T, V)
loss_by_hand = -(q * np.log(get("probs"))).sum()

x = torch.tensor(get("decoder.out"), requires_grad=True)  # (T, D)
loss = smoothed_cross_entropy(x, torch.tensor(E), wanted[0], epsilon)  # logits, softmax and loss in one
loss.backward()
assert agree(loss.item(), loss_by_hand)
assert agree(x.grad, (get("probs") - q) @ E)

floor = -(q[0] * np.log(q[0])).sum()
print(f"loss per word {loss.item() / 5:.3f}; it can never be below {floor:.3f}, the entropy of the smoothed target\n")

# %% [markdown]
# ## Section 6.1. Beam search, length penalty, averaging
#
# The most probable word now may lead nowhere. Beam search keeps the `beams` best beginnings (the paper: 4) side by side. A
# sum of log-probabilities falls with every word, so that short outputs would win; it is divided by a penalty of the length:
#
# $$ score = \frac{\ln p(y \mid x)}{lp(n)}, \qquad lp(n) = \left( \frac{5 + n}{6} \right)^{\alpha}, \qquad \alpha = 0.6 $$
#
# $n$ counts the end token. Outputs may be 50 tokens longer than their source.
#
# Files: `pellucid/decoding/search.py`, `pellucid/decoding/beam.py`, `pellucid/decoding/penalties.py`. All they know of a
# model is `pellucid/decoding/contract.py`: encode, start, step, and a state whose rows can be chosen. So a table will do as
# a model. In this one A is the best beginning, and a bad one.

# %%
from pellucid.base.config import DecodingConfig
from pellucid.decoding.penalties import length_penalty
from pellucid.decoding.search import search

A, B, C, D = range(4, 8)
NEXT = {  # what was written so far: probabilities of the next token
    (): {A: 0.55, B: 0.45},
    (A,): {C: 0.4, D: 0.35, END: 0.25},
    (B,): {C: 0.9, D: 0.1},
}


class Written:
    """The state: what each row has written."""

    def __init__(self, rows):
        self.rows = rows

    def select(self, chosen):
        self.rows = [self.rows[row] for row in chosen.tolist()]


class Table:
    """A model of three lines."""

    def encode(self, source, mask):
        return len(source)

    def start(self, memory, beams=1):
        return Written([()] * (memory * beams))

    def step(self, ids, state):
        state.rows = [(*row, token) for row, token in zip(state.rows, ids[:, 0].tolist(), strict=True)]
        p = torch.zeros(len(state.rows), 1, 8)
        for number, (_, *row) in enumerate(state.rows):  # the first one is <s>
            for token, probability in NEXT.get(tuple(row), {END: 1.0}).items():
                p[number, 0, token] = probability
        return p.log(), state


sentence = torch.tensor([[A, END]])
for beams in (1, 2):
    settings = DecodingConfig(beams=beams)
    [[best]] = search(Table(), sentence, torch.ones_like(sentence, dtype=torch.bool), settings, start=START, end=END)
    letters = "".join("ABCD"[token - A] for token in best.ids)
    print(f"beams {beams}: {letters}  p = {math.exp(best.log_probability):.3f}  score = {best.score:.3f}")
    n = len(best.ids) + 1
    assert abs(best.score - best.log_probability / ((5 + n) / 6) ** 0.6) < 1e-6
assert best.ids == (B, C)
assert abs(math.exp(best.log_probability) - 0.45 * 0.9) < 1e-6  # the greedy one: 0.55 * 0.4
assert DecodingConfig().max_extra == 50

penalty = length_penalty("gnmt", 0.6)
print(f"\nln p = -4.0 in 5 tokens, -4.4 in 8: {-4.0 / penalty(5):.2f} and {-4.4 / penalty(8):.2f}: the longer one wins\n")
assert -4.0 > -4.4
assert -4.0 / penalty(5) < -4.4 / penalty(8)

# %% [markdown]
# **Averaging.** The paper does not take the last weights but the mean of the last 5 checkpoints (base) or 20 (big), written ten
# minutes apart. File: `pellucid/training/averaging.py`. Only its arithmetic is shown here: means of unrelated models are of no
# use.

# %%
from safetensors.torch import save_file

from pellucid.training.averaging import average

with tempfile.TemporaryDirectory() as folder:
    files, copies = [], []
    for seed in (1, 2, 3):
        copy = build(config).double()
        initialise(copy, seed)
        files.append(Path(folder) / f"{seed}.safetensors")
        copies.append(copy.state_dict())
        save_file(copies[-1], files[-1])
    mean = average(files)
for name, weight in mean.items():
    assert agree(weight, sum(copy[name] for copy in copies) / 3), name
print(f"averaged {len(mean)} tensors of 3 checkpoints\n")

# %% [markdown]
# ## Section 6.2. The sizes in Table 3
#
# Counting is a good test of having understood. With $d = d_{model}$ and $f = d_{ff}$: an attention has $4 (d^2 + d)$
# parameters, a feed-forward $2 d f + f + d$, a norm $2 d$, and the matrix $E$ has $V d$. The paper's two models are presets,
# `paper-base` and `paper-big`, in `pellucid/base/published.py`.

# %%


def count_by_hand(d, f, n, vocabulary):
    attention, feed_forward, norm = 4 * (d * d + d), 2 * d * f + f + d, 2 * d
    encoder_layer = attention + feed_forward + 2 * norm
    decoder_layer = 2 * attention + feed_forward + 3 * norm
    return n * (encoder_layer + decoder_layer) + vocabulary * d


print("        layers        with V = 37,000   Table 3   V that Table 3 would take")
for name, d, f, n_heads, table_3 in (("base", 512, 2048, 8, 65e6), ("big", 1024, 4096, 16, 213e6)):
    side = StackConfig(n_layers=6, n_heads=n_heads, d_ff=f)
    shape = ModelConfig(d_model=d, encoder=side, decoder=side, source_vocabulary=37_000, target_vocabulary=37_000)
    counted, layers = n_parameters(shape), count_by_hand(d, f, 6, 0)
    assert counted == count_by_hand(d, f, 6, 37_000)
    print(f"{name:<5} {layers:>13,} {counted:>19,} {table_3 / 1e6:>7.0f} M {(table_3 - layers) / d:>23,.0f}")
print()

# %% [markdown]
# The layers are beyond doubt, so what is left of the difference is vocabulary: the text says "about 37,000". No single size
# gives both rows. 65 million would need about 40,700 entries, 213 million about 35,800.
#
# ## At last: it learns
#
# A model that reverses five letters. It must know *where* a letter stands, and it must look at another place for each one it
# writes: the last letter first. Everything is the package's own: the builder, the loss, Adam, the training step, the
# search. What a new task brings is the class below (`pellucid/training/protocol.py`).

# %%
from pellucid.tasks.pairs import PairBatch, pair_loss
from pellucid.training.step import train_step

LETTERS = "abcdefgh"
LENGTH = 5


class Reverse:
    """Random words, and their letters backwards."""

    def batch(self, numbers):
        """64 words that depend on one number."""
        drawn = np.random.default_rng(numbers[0]).integers(4, 4 + len(LETTERS), (64, LENGTH))
        word = torch.from_numpy(drawn)
        start, end = word.new_full((64, 1), START), word.new_full((64, 1), END)
        backwards = torch.cat([word.flip(1), end], dim=1)  # (64, 6)
        return PairBatch(
            source=torch.cat([word, end], dim=1),
            source_mask=None,
            target_input=torch.cat([start, backwards[:, :-1]], dim=1),
            target_output=backwards.flatten(),
            wanted=torch.ones_like(backwards, dtype=torch.bool),
        )

    def count(self, batch):
        return len(batch.target_output)

    def loss(self, model, batch):
        return pair_loss(model, batch, smoothing=0.1)


one = StackConfig(n_layers=1, n_heads=2, d_ff=128)
size = 4 + len(LETTERS)
pupil_config = ModelConfig(
    d_model=32, encoder=one, decoder=one, dropout=0.0, max_length=16, source_vocabulary=size, target_vocabulary=size
)
pupil = build(pupil_config)
initialise(pupil, seed=1)

torch.set_num_threads(1)  # there is too little to do for two
task, settings = Reverse(), OptimizerConfig(schedule="inverse_sqrt", learning_rate=0.005, warmup=100)
optimizer = make_optimizer(pupil, settings)
pupil.train()
STEPS = 300
for step in range(1, STEPS + 1):
    rate = learning_rate(step, settings, d_model=32, steps=STEPS)
    result = train_step(task, pupil, optimizer, [[step]], rate=rate, clip=0.0, precision="float32", device="cpu")
    if step in (1, 50, 100, 200, STEPS):
        print(f"step {step:>3}: loss per letter {result.loss / result.tokens:.3f}")

# %%
pupil.eval()
unseen = task.batch([0])  # no step used this number
all_real = torch.ones_like(unseen.source, dtype=torch.bool)
found = search(pupil, unseen.source, all_real, DecodingConfig(beams=1), start=START, end=END)
expected = unseen.source[:, :-1].flip(1).tolist()
right = sum(list(best.ids) == letters for [best], letters in zip(found, expected, strict=True))
print(f"\nwords reversed without a mistake: {right} of {len(expected)}\n")
assert right >= 0.9 * len(expected)

# %% [markdown]
# And where did it look? Row $t$ of the cross-attention is what the decoder read when it wrote letter $t$. A model that
# reverses must read from the end to the beginning: a diagonal from the upper right to the lower left.

# %%


def cross_attention(source, target):
    """Of the one layer, the mean of its heads: (B, T, S)."""
    maps = []

    def tap(name, tensor):
        if name.endswith("cross_attn.weights"):
            maps.append(tensor.mean(dim=1))
        return tensor

    with torch.no_grad():
        pupil(source, target, tap=tap)
    return maps[0]


badge = torch.tensor([[*(4 + LETTERS.index(letter) for letter in "badge"), END]])
[[best]] = search(pupil, badge, torch.ones_like(badge, dtype=torch.bool), DecodingConfig(beams=1), start=START, end=END)
written = "".join(LETTERS[token - 4] for token in best.ids)
looks = cross_attention(badge, torch.tensor([[START, *best.ids]]))[0]  # (T, S)
print("badge ->", written)
show("rows: letter written; columns: letter read", looks, [*written, "</s>"], [*"badge", "</s>"])
assert written == "egdab"

in_all = cross_attention(unseen.source, unseen.target_input)[:, :LENGTH, :LENGTH]  # (B, LENGTH, LENGTH)
on_diagonal = in_all.flip(2).diagonal(dim1=1, dim2=2).mean()
print(f"share of attention on the letter to be copied, in all words: {on_diagonal:.2f}; by chance {1 / (LENGTH + 1):.2f}")
assert on_diagonal > 0.5

# %% [markdown]
# ## Where to go on
#
# - Train on real sentences: `pellucid train`, see `docs/how-to/translate-your-own-data.md`.
# - Every setting: `docs/reference/recipe.md`. Every tap: `docs/reference/taps.md`. The search in full:
#   `docs/reference/decoding.md`.
# - The same in pseudocode, encoders and decoders that stand alone too: `docs/tutorial/formal_algorithms.py`.
# - Why the code is cut the way it is: `docs/design.md`.
