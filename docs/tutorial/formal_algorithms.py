# %% [markdown]
# # The formal algorithms beside the code
#
# "Formal Algorithms for Transformers" (Phuong and Hutter, 2022, arXiv 2207.09238) writes the Transformer down as fifteen
# pieces of pseudocode. This page sets each beside the function of the package that is it. For each it says in a few words
# what goes in and what comes out, writes the algorithm once more in a few lines of its own, compares the two by `assert`,
# and says where they differ.
#
# Have the paper open. The page is a plain Python file, and a notebook where an editor knows `# %%` cells:
#
#     python docs/tutorial/formal_algorithms.py
#
# | | algorithm | ours |
# |---|---|---|
# | 1 | token embedding | `TokenEmbedding` in `pellucid/model/embedding.py` |
# | 2 | positional embedding | `LearnedPositions`, `SinusoidalPositions` in `pellucid/model/positions.py` |
# | 3 | attention of a single query | `attend` in `pellucid/model/attention.py` |
# | 4 | Attention(X, Z) | `attend` in `pellucid/model/attention.py`, `Mask` in `pellucid/model/masks.py` |
# | 5 | MHAttention(X, Z) | `MultiHeadAttention` in `pellucid/model/attention.py` |
# | 6 | layer_norm(e) | `LayerNorm` in `pellucid/model/residual.py` |
# | 7 | unembedding | `Head` in `pellucid/model/heads.py` |
# | 8 | EDTransformer(z, x) | `EncoderDecoder` in `pellucid/model/transformer.py` |
# | 9 | ETransformer(x) | `EncoderOnly` in `pellucid/model/transformer.py` |
# | 10 | DTransformer(x) | `DecoderOnly` in `pellucid/model/transformer.py` |
# | 11 | EDTraining | `pair_loss` in `pellucid/tasks/pairs.py`, `train_step` in `pellucid/training/step.py` |
# | 12 | ETraining | `hide` in `pellucid/tasks/masked_lm.py`, and the step |
# | 13 | DTraining | `window`, `window_loss` in `pellucid/tasks/windows.py`, and the step |
# | 14 | DInference(x) | `search` in `pellucid/decoding/search.py`, `tempered` in `pellucid/decoding/filters.py` |
# | 15 | EDInference(z) | `search` in `pellucid/decoding/search.py` |
#
# **Two ways to write.** The paper's vectors are columns, a text is a matrix with one column a token, and a projection is
# $W X + b 1^T$. Ours are rows, a text has one row a token, and there is a batch of them: (B, T, D). So what comes out of
# one is the transpose of the other. The weights need none: a `torch.nn.Linear` keeps the $W$ that stands to the left of a
# column. The paper counts from 1, Python from 0.
#
# | paper | here | |
# |---|---|---|
# | $N_V$ | V | entries of the vocabulary |
# | $\ell_x, \ell_z$ | T, S | tokens of the primary sequence and of its context |
# | $\ell_{max}$ | `max_length` | most positions |
# | $d_e$ | D, `d_model` | width of a token's vector |
# | $d_{mlp}$ | `d_ff` | width inside the feed-forward |
# | $H$; $d_{attn}$, $d_{mid}$ | H, `n_heads`; K, `d_head` | heads; width of queries and keys, of values |
# | $L_{enc}, L_{dec}$ | `n_layers` | layers |
#
# All is computed in float64. Two results agree when no number differs by more than $10^{-12}$.

# %%
# Imports stand where they are first needed, as the text goes on.
# ruff: noqa: E402
import copy
import math

import torch
from torch import nn

torch.set_num_threads(1)  # there is too little to do for two
generator = torch.Generator().manual_seed(1)


def random(*shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def linear(d_in, d_out):
    """A projection with random weight and bias."""
    made = nn.Linear(d_in, d_out, dtype=torch.float64)
    with torch.no_grad():
        made.weight.copy_(random(d_out, d_in))
        made.bias.copy_(random(d_out))
    return made


def agree(ours, theirs):
    """Whether two results are equal to rounding error."""
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=0, atol=1e-12)


torch.set_grad_enabled(False)  # until it is learnt

# %% [markdown]
# ## Algorithm 1. Token embedding
#
# In: a token $v \in [N_V]$. Out: its vector $e \in \mathbb{R}^{d_e}$, which is column $v$ of
# $W_e \in \mathbb{R}^{d_e \times N_V}$.
#
# Ours takes a row of $E = W_e^T$. By default it also multiplies by $\sqrt{d_e}$, as section 3.4 of Vaswani et al. (2017)
# does and this paper does not: `model.embedding.scale: false`.

# %%
from pellucid.model.dropout import Dropout
from pellucid.model.embedding import TokenEmbedding

W_e = random(4, 9)  # d_e = 4, N_V = 9


def token_embedding(v):
    return W_e[:, v - 1]  # the paper's index begins at 1


embed = TokenEmbedding(scale=1.0, types=0, d_model=4, norm=None, dropout=Dropout(0.0))
ids = torch.tensor([[2, 8, 0]])  # ours: (B, T), from 0
embedded = embed(ids, W_e.T, positions=None)  # (B, T, D)
for t in range(3):
    assert agree(embedded[0, t], token_embedding(ids[0, t] + 1))

scaled = TokenEmbedding(scale=math.sqrt(4), types=0, d_model=4, norm=None, dropout=Dropout(0.0))
assert agree(scaled(ids, W_e.T, positions=None), 2 * embedded)

# %% [markdown]
# ## Algorithm 2. Positional embedding
#
# In: a position $\ell \in [\ell_{max}]$. Out: its vector $e_p \in \mathbb{R}^{d_e}$, column $\ell$ of a matrix
# $W_p \in \mathbb{R}^{d_e \times \ell_{max}}$ that is learnt like any other. What the first layer receives for token $t$ is
# $W_e[:, x[t]] + W_p[:, t]$.
#
# That is `model.positions: learned`. Ours counts from the first real token, so that padding on the left changes nothing.

# %%
from pellucid.model.positions import LearnedPositions, SinusoidalPositions

learned = LearnedPositions(max_length=5, d_model=4).double()
learned.weight.copy_(random(5, 4))
W_p = learned.weight.T  # (d_e, l_max)

here = torch.arange(3)[None]  # (1, T)
summed = embed(ids, W_e.T, learned.added(here))  # (B, T, D)
for t in range(1, 4):
    assert agree(summed[0, t - 1], token_embedding(ids[0, t - 1] + 1) + W_p[:, t - 1])

# %% [markdown]
# The fixed waves of Vaswani et al. are our default. This paper mentions them, with two differences besides the count of
# positions: its pairs are numbered $i = 1 \dots d_e / 2$ where the original begins at $i = 0$, and the base is $\ell_{max}$
# where the original has 10,000 whatever the length:
#
# $$ W_p[2i - 1, t] = \sin(t / \ell_{max}^{2i / d_e}), \qquad W_p[2i, t] = \cos(t / \ell_{max}^{2i / d_e}) $$
#
# Ours is the original. With the same base the paper's pair $i$ is ours of that number, counted from 0: it has one slower
# wave, and lacks the quickest.

# %%
waves = SinusoidalPositions(max_length=6, d_model=8).double()
waves.initialise()  # once more, in float64
for t in range(1, 6):
    speeds = [10_000 ** (-2 * i / 8) for i in range(1, 8 // 2 + 1)]
    column = torch.tensor([wave(t * speed) for speed in speeds for wave in (math.sin, math.cos)], dtype=torch.float64)
    assert agree(waves.table[t, 2:], column[:-2])
    assert agree(waves.table[t, :2], torch.tensor([math.sin(t), math.cos(t)], dtype=torch.float64))  # the quickest

# %% [markdown]
# ## Algorithm 3. Attention of a single query
#
# In: the vector $e \in \mathbb{R}^{d_{in}}$ of one token, and those of its context, $e_1 \dots e_T$. Out:
# $\tilde v \in \mathbb{R}^{d_{out}}$, the average of the context's values. The share of each is the exponential of query
# times key over $\sqrt{d_{attn}}$, divided by the sum of all these.
#
# `attend` takes queries, keys and values ready made; the projections belong to the module of algorithm 5.

# %%
from pellucid.model.attention import DotProduct, attend, attend_in_steps

no_dropout = Dropout(0.0)
query, key, value = linear(6, 3), linear(5, 3), linear(5, 4)  # d_attn = 3, d_out = 4


def single_query_attention(e, context):
    q = query.weight @ e + query.bias
    keys = [key.weight @ e_t + key.bias for e_t in context]
    values = [value.weight @ e_t + value.bias for e_t in context]
    powers = [torch.exp(q @ k / math.sqrt(len(q))) for k in keys]
    return sum(power / sum(powers) * v for power, v in zip(powers, values, strict=True))


X, Z = random(6, 7), random(5, 8)  # (d_x, l_x), (d_z, l_z)
q, k, v = query(X.T), key(Z.T), value(Z.T)  # (T, K), (S, K), (S, d_out)
z = attend(q[None, None, :1], k[None, None], v[None, None], DotProduct(3), None, no_dropout)  # (B, H, 1, d_out)
assert agree(z[0, 0, 0], single_query_attention(X[:, 0], Z.T))

# %% [markdown]
# ## Algorithm 4. Attention
#
# In: the primary sequence $X \in \mathbb{R}^{d_x \times \ell_x}$, its context $Z \in \mathbb{R}^{d_z \times \ell_z}$, and
# $Mask \in \{0, 1\}^{\ell_z \times \ell_x}$. Out: $\tilde V \in \mathbb{R}^{d_{out} \times \ell_x}$. Scores are
# $S = K^T Q$, one *column* a query; those without leave become $-\infty$; then
# $\tilde V = V \mathrm{softmax}(S / \sqrt{d_{attn}})$, a softmax of each column.
#
# Ours has one *row* a query, $Q K^T$, and divides first, which is the same. 1 is True: may attend. Masks are rules until a
# stack resolves them, once for all layers: $[t_z \le t_x]$ is `Mask(causal=True)`, a context with padding `Mask(keys)`. A
# query without any key gives zeros here; in the paper that does not occur.

# %%
from pellucid.model.masks import Mask


def softmax(A):
    """Of each column."""
    powers = torch.exp(A - A.amax(0))
    return powers / powers.sum(0)


def Attention(X, Z, W_q, b_q, W_k, b_k, W_v, b_v, mask):
    Q = W_q @ X + b_q[:, None]
    K = W_k @ Z + b_k[:, None]
    V = W_v @ Z + b_v[:, None]
    S = (K.T @ Q).masked_fill(~mask, -math.inf)  # (l_z, l_x)
    return V @ softmax(S / math.sqrt(len(Q)))


def unidirectional(length):
    """Mask[t_z, t_x] = [t_z <= t_x]."""
    return torch.tensor([[t_z <= t_x for t_x in range(length)] for t_z in range(length)])


assert torch.equal(Mask(causal=True).allowed(7, 7, X.device)[0, 0].T, unidirectional(7))

W_qkv = [weight for made in (query, key, value) for weight in (made.weight, made.bias)]
everything = torch.ones(8, 7, dtype=torch.bool)
real = torch.tensor([[True] * 6 + [False] * 2])  # (B, S): two of the context are padding
itself = random(5, 7)  # queries from the same vectors as keys: the context's projections serve for both
W_self = [*W_qkv[2:4], *W_qkv[2:]]
q_self, v_self = key(itself.T), value(itself.T)

for rule, theirs, (q_, k_, v_) in (
    (Mask(), Attention(X, Z, *W_qkv, everything), (q, k, v)),
    (Mask(real), Attention(X, Z, *W_qkv, everything & real.T), (q, k, v)),
    (Mask(causal=True), Attention(itself, itself, *W_self, unidirectional(7)), (q_self, q_self, v_self)),
):
    parts = q_[None, None], k_[None, None], v_[None, None], DotProduct(3), rule.resolve(len(q_), len(k_), like=q_), no_dropout
    assert agree(attend(*parts)[0, 0].T, theirs)
    assert agree(attend_in_steps(*parts, tap=lambda name, tensor: tensor)[0, 0].T, theirs)

# %% [markdown]
# ## Algorithm 5. Multi-head attention
#
# In and out as before; $H$ heads with projections of their own, $\tilde V = W_o [Y^1; \dots; Y^H] + b_o 1^T$, where the
# $Y^h$ are put on top of each other.
#
# Ours keeps the $W_q^h$ of all heads in one matrix, head $h$ in its rows $(h - 1) d_{attn} + 1 \dots h d_{attn}$, and
# likewise keys and values. As the parts are handed in, all widths may differ as in the paper; the builder makes
# $d_{attn} = d_{mid}$ = `d_head`. Keys and values are made by `project`, so that those of a source are made once and those
# of earlier tokens kept.

# %%
from pellucid.model.attention import MultiHeadAttention


def MHAttention(X, Z, ours, mask):
    """With the weights of one of our modules."""
    heads = []
    for h in range(ours.n_heads):
        W_qkv = []
        for projection in (ours.query, ours.key, ours.value):
            rows = slice(h * projection.out_features // ours.n_heads, (h + 1) * projection.out_features // ours.n_heads)
            W_qkv += [projection.weight[rows], projection.bias[rows]]
        heads.append(Attention(X, Z, *W_qkv, mask))
    return ours.output.weight @ torch.cat(heads) + ours.output.bias[:, None]


H, d_attn, d_mid, d_out = 2, 3, 4, 9
attention = MultiHeadAttention(
    query=linear(6, H * d_attn),
    key=linear(5, H * d_attn),
    value=linear(5, H * d_mid),
    output=linear(H * d_mid, d_out),
    score=DotProduct(d_attn),
    n_heads=H,
    n_kv_heads=H,
    dropout=no_dropout,
)
mask = Mask(real).resolve(7, 8, like=X)
out = attention(X.T[None], *attention.project(Z.T[None]), mask)  # (B, T, d_out)
assert agree(out[0].T, MHAttention(X, Z, attention, everything & real.T))

# %% [markdown]
# ## Algorithm 6. Layer normalisation
#
# In: a vector $e$. Out: $\hat e = \frac{e - m}{\sqrt v} \odot \gamma + \beta$, where $m$ is the mean and $v$ the variance
# of the numbers of $e$, divided by $d_e$.
#
# Ours has $\sqrt{v + \epsilon}$, as all code has, lest a vector of equal numbers be divided by zero. The default is
# $\epsilon = 10^{-5}$. From here on this page sets $10^{-30}$, which is nothing beside any $v$ that occurs.

# %%
from pellucid.model.residual import LayerNorm


def layer_norm(e, norm):
    """With gain and bias of one of our modules."""
    m = sum(e) / len(e)
    v = sum((e - m) ** 2) / len(e)
    return (e - m) / torch.sqrt(v) * norm.weight + norm.bias


def of_each_column(X, norm):
    return torch.stack([layer_norm(e, norm) for e in X.T], dim=1)


norm = LayerNorm(6, eps=1e-30, dtype=torch.float64)
norm.weight.copy_(random(6))
norm.bias.copy_(random(6))
assert agree(norm(X.T).T, of_each_column(X, norm))

# %% [markdown]
# ## Algorithm 7. Unembedding
#
# In: a vector $e$. Out: probabilities $p = \mathrm{softmax}(W_u e)$ over the vocabulary,
# $W_u \in \mathbb{R}^{N_V \times d_e}$.
#
# Our head gives the logits $W_u e$: loss and search want their logarithms, and the softmax is then taken where it is exact.
# Its probabilities can be seen at the tap "probs". $W_u$ is a matrix of its own in the paper, `model.tie: embeddings` or
# `none`; by default ours is $W_e^T$.

# %%
from pellucid.model.heads import Head

W_u = random(9, 6)
head = Head(pool=None, transform=None, dropout=no_dropout, scale=1.0, bias=0)
seen = {}
logits = head(X.T[None], W_u, tap=seen.setdefault)  # (B, T, V)
for t in range(7):
    p = softmax(W_u @ X[:, t])
    assert agree(torch.softmax(logits[0, t], dim=0), p)
    assert agree(seen["probs"][0, t], p)

# %% [markdown]
# ## Algorithm 8. EDTransformer
#
# In: the context $z$ and the primary sequence $x$, both tokens. Out: $P \in (0, 1)^{N_V \times \ell_x}$; column $t$ holds
# the probabilities of $x[t + 1]$, given $x[1 \dots t]$ and $z$. Encoder layers: $Z + MHAttention(Z, Z)$, norm,
# $Z + MLP(Z)$, norm. Decoder layers: the same on $X$, masked, with $X + MHAttention(X, Z)$ and its norm between the two.
# The MLP is $W_{mlp2} ReLU(W_{mlp1} Z + b_{mlp1} 1^T) + b_{mlp2} 1^T$.
#
# This is Figure 1 of Vaswani et al.: norm after the sum, ReLU. What this paper writes otherwise than our defaults: no
# $\sqrt{d_e}$, learnt positions, $W_u$ by itself. Sources and targets share one $W_e$, which is `tie: embeddings`, and one
# $W_p$; our stacks have a table of positions each, so here we give both the same one. There is no dropout in any algorithm.

# %%
from pellucid.base.config import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from pellucid.model.build import build
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, EncoderOnly

N_V = 11


def make(**shape):
    """A model as the paper writes it, random in every weight, also where a fresh one has zeros and ones."""
    config = ModelConfig(
        d_model=6,
        dropout=0.0,
        norm_epsilon=1e-30,
        positions="learned",
        embedding=EmbeddingConfig(scale=False),
        max_length=40,
        source_vocabulary=N_V,
        target_vocabulary=N_V,
        **shape,
    )
    model = build(config).double().eval()
    for weight in model.parameters():
        weight.copy_(0.7 * random(*weight.shape))
    return model


def ReLU(u):
    return u * (u > 0)


def MLP(X, ours, activation):
    hidden = activation(ours.hidden.weight @ X + ours.hidden.bias[:, None])
    return ours.output.weight @ hidden + ours.output.bias[:, None]


def embedded_columns(x, E, positions):
    """Algorithms 1 and 2 for each token of x: (d_e, length)."""
    return torch.stack([E.T[:, x[t]] + positions.weight.T[:, t] for t in range(len(x))], dim=1)


def all_ones(n_keys, n_queries):
    return torch.ones(n_keys, n_queries, dtype=torch.bool)


def EDTransformer(z, x, model):
    E, W_u = model.weight("source"), model.weight("output")
    Z = embedded_columns(z, E, model.encoder.positions)
    for layer in model.encoder.layers:
        Z = Z + MHAttention(Z, Z, layer.self_attn, all_ones(len(z), len(z)))
        Z = of_each_column(Z, layer.self_attn_residual.norm)
        Z = Z + MLP(Z, layer.feed_forward, ReLU)
        Z = of_each_column(Z, layer.feed_forward_residual.norm)
    X = embedded_columns(x, E, model.encoder.positions)
    for layer in model.decoder.layers:
        X = X + MHAttention(X, X, layer.self_attn, unidirectional(len(x)))
        X = of_each_column(X, layer.self_attn_residual.norm)
        X = X + MHAttention(X, Z, layer.cross_attn, all_ones(len(z), len(x)))
        X = of_each_column(X, layer.cross_attn_residual.norm)
        X = X + MLP(X, layer.feed_forward, ReLU)
        X = of_each_column(X, layer.feed_forward_residual.norm)
    return softmax(W_u @ X)


both = make(
    tie="embeddings",
    encoder=StackConfig(n_layers=2, n_heads=3, d_ff=7),
    decoder=StackConfig(n_layers=3, n_heads=2, d_ff=5),
)
both.decoder.positions.weight = both.encoder.positions.weight
assert isinstance(both, EncoderDecoder)

z, x = [9, 5, 7, 5, 10], [9, 8, 6, 10]
P = EDTransformer(z, x, both)  # (N_V, l_x)
ours = torch.softmax(both(torch.tensor([z]), torch.tensor([x])), dim=-1)  # (B, T, V)
assert agree(ours[0].T, P)
assert agree(P.sum(0), torch.ones(4, dtype=torch.float64))

# %% [markdown]
# ## Algorithm 9. ETransformer
#
# In: $x$, of which some tokens may be masked. Out: $P$; column $t$ holds the probabilities of the token at place $t$, where
# it is masked. This is BERT: encoder layers as before, with GELU for ReLU; at the end $GELU(W_f X + b_f 1^T)$, a norm, and
# $W_u$.
#
# What comes before $W_u$ is `model.head.transform: norm` here; its width $d_f$ is $d_e$ in ours, as it is in BERT. The
# paper leaves out the types (segments) of BERT, the norm of its embedding and the bias of its logits:
# `model.embedding.types`, `model.embedding.norm`, `model.head.bias`. GELU is $u \, \Phi(u)$ with the normal distribution
# function $\Phi$; its approximation by tanh is another activation here, `gelu_tanh`.

# %%


def GELU(u):
    return u * (1 + torch.erf(u / math.sqrt(2))) / 2


def ETransformer(x, model):
    X = embedded_columns(x, model.weight("source"), model.encoder.positions)
    for layer in model.encoder.layers:
        X = X + MHAttention(X, X, layer.self_attn, all_ones(len(x), len(x)))
        X = of_each_column(X, layer.self_attn_residual.norm)
        X = X + MLP(X, layer.feed_forward, GELU)
        X = of_each_column(X, layer.feed_forward_residual.norm)
    last = model.head.transform
    X = GELU(last.dense.weight @ X + last.dense.bias[:, None])
    X = of_each_column(X, last.norm)
    return softmax(model.weight("output") @ X)


stack = StackConfig(n_layers=2, n_heads=3, d_ff=7)
encoder = make(
    architecture="encoder",
    tie="none",
    activation="gelu",
    encoder=stack,
    head=HeadConfig(transform="norm", activation="gelu"),
)
assert isinstance(encoder, EncoderOnly)
assert agree(torch.softmax(encoder(torch.tensor([z])), dim=-1)[0].T, ETransformer(z, encoder))

# %% [markdown]
# ## Algorithm 10. DTransformer
#
# In: $x$. Out: $P$; column $t$ holds the probabilities of $x[t + 1]$, given $x[1 \dots t]$. This is GPT-2 and GPT-3: the
# norm goes first, $X + MHAttention(\tilde X, \tilde X)$ with $\tilde X$ the norm of $X$, masked; then $X + MLP(\tilde X)$
# with a norm of its own and GELU; one more norm after the last layer.
#
# That is `model.norm: pre`, and its last norm. (GPT-2 itself has `gelu_tanh`, and $W_u = W_e^T$.)

# %%


def DTransformer(x, model):
    X = embedded_columns(x, model.weight("target"), model.decoder.positions)
    for layer in model.decoder.layers:
        normed = of_each_column(X, layer.self_attn_residual.norm)
        X = X + MHAttention(normed, normed, layer.self_attn, unidirectional(len(x)))
        normed = of_each_column(X, layer.feed_forward_residual.norm)
        X = X + MLP(normed, layer.feed_forward, GELU)
    X = of_each_column(X, model.decoder.norm)
    return softmax(model.weight("output") @ X)


decoder = make(architecture="decoder", tie="none", norm="pre", activation="gelu", decoder=stack)
assert isinstance(decoder, DecoderOnly)
assert agree(torch.softmax(decoder(torch.tensor([z])), dim=-1)[0].T, DTransformer(z, decoder))

# %% [markdown]
# ## Algorithm 11. EDTraining
#
# In: pairs $(z_n, x_n)$, first weights $\theta$, the number of epochs and the rate $\eta$. Out: trained weights
# $\hat\theta$. For each epoch and each pair the loss is $-\sum_{t=1}^{\ell-1} \ln P[x_n[t+1], t]$, and
# $\theta \leftarrow \theta - \eta \nabla loss(\theta)$.
#
# `train_step` is one pass of the inner loop, with any optimizer of torch. The paper descends along the plain gradient, pair
# by pair, at one rate; ours by default with Adam, a schedule, many pairs a step and smoothed labels, in an order that is
# new each epoch. And `train_step` divides the loss by its tokens, so that $\eta$ must be multiplied by them to compare.
#
# In the paper $x$ begins with a token for the start and closes with one for the end, and so does $z$; the three control
# tokens (mask, start, end) come last in its vocabulary. Ours come first, and a source has only the end. The column after
# the end, which the loss leaves out, is not computed by ours: the target goes in without its last token.

# %%
from pellucid.tasks.pairs import PairBatch, pair_loss
from pellucid.training.step import train_step

torch.set_grad_enabled(True)
ETA, EPOCHS = 0.01, 2


def descend(model, loss_of, examples):
    """The loops that algorithms 11 to 13 have in common."""
    weights = list(model.parameters())
    for _ in range(EPOCHS):
        for example in examples:
            gradients = torch.autograd.grad(loss_of(model, example), weights)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight -= ETA * gradient


class Given:
    """The part of a task that `train_step` asks for: these batches, counted and scored in this way."""

    def __init__(self, batches, count, loss):
        self.batches, self.count, self.loss = batches, count, loss

    def batch(self, numbers):
        return self.batches[numbers[0]]


def train(model, task):
    model.train()
    optimizer = torch.optim.SGD(model.parameters())
    for _ in range(EPOCHS):
        for n, batch in enumerate(task.batches):
            rate = ETA * task.count(batch)
            train_step(task, model, optimizer, [[n]], rate=rate, clip=0.0, precision="float32", device="cpu")
    model.eval()


def same_weights(one, other):
    return all(agree(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def EDTraining_loss(model, pair):
    z, x = pair
    P = EDTransformer(z, x, model)
    return -sum(torch.log(P[x[t + 1], t]) for t in range(len(x) - 1))


def as_batch(pair):
    z, x = (torch.tensor([tokens]) for tokens in pair)
    return PairBatch(
        source=z, source_mask=None, target_input=x[:, :-1], target_output=x[0, 1:], wanted=torch.ones_like(x[:, 1:]).bool()
    )


pairs = [([9, 5, 7, 10], [9, 4, 3, 8, 10]), ([9, 6, 2, 2, 0, 10], [9, 1, 10]), ([9, 10], [9, 7, 7, 10])]
by_hand, trained = copy.deepcopy(both), copy.deepcopy(both)
descend(by_hand, EDTraining_loss, pairs)
train(trained, Given([as_batch(pair) for pair in pairs], lambda batch: len(batch.target_output), pair_loss))
assert same_weights(trained, by_hand)
assert not same_weights(trained, both)

# %% [markdown]
# ## Algorithm 12. ETraining
#
# In: texts $x_n$, $\theta$, epochs, $\eta$, and $p_{mask} \in (0, 1)$. Out: $\hat\theta$. Each token becomes the mask with
# probability $p_{mask}$, which makes $\tilde x_n$; the loss is $-\sum \ln P[x_n[t], t]$ over the places that were masked.
#
# `hide` chooses the places; the step is the same as before.

# %%
from pellucid.tasks.masked_lm import MASKED, RANDOM, hide
from pellucid.tasks.on_encoder import EncoderBatch
from pellucid.training.loss import smoothed_cross_entropy

MASK, P_MASK = 4, 0.5
controls = torch.arange(N_V) <= MASK  # (V,) ours come first


def ETraining_loss(model, texts):
    x, masked = texts
    P = ETransformer(masked, model)
    return -sum(torch.log(P[x[t], t]) for t in range(len(x)) if masked[t] == MASK)


def masked_loss(model, batch):
    def readout(vectors, weight, bias):
        return smoothed_cross_entropy(vectors, weight, batch.target, 0.0, bias)

    return model(batch.source, wanted=batch.wanted, readout=readout)


examples, batches = [], []
for text in ([7, 5, 9, 9, 6, 8, 10], [5, 6, 10, 7], [8, 8, 5, 9, 10]):
    x = torch.tensor([text])
    _, chosen = hide(x, controls, MASK, P_MASK, generator)  # (B, S) each
    masked = x.masked_fill(chosen, MASK)
    assert chosen.any()
    examples.append((text, masked[0].tolist()))
    batches.append(EncoderBatch(masked, None, x[chosen], chosen))

by_hand, trained = copy.deepcopy(encoder), copy.deepcopy(encoder)
descend(by_hand, ETraining_loss, examples)
train(trained, Given(batches, lambda batch: len(batch.target), masked_loss))
assert same_weights(trained, by_hand)
assert not same_weights(trained, encoder)

# %% [markdown]
# What ours does otherwise, after BERT: control tokens are never chosen; and of the tokens that are, only 80 % become the
# mask, 10 % another token, 10 % stay. The loss is over all chosen ones. We count.

# %%
text = torch.randint(0, N_V, (1, 20_000), generator=generator)
hidden, chosen = hide(text, controls, MASK, P_MASK, generator)
words = ~controls[text]
assert not chosen[controls[text]].any()
assert torch.equal(hidden[~chosen], text[~chosen])
became_mask = (hidden[chosen] == MASK).double().mean().item()
became_other = ((hidden != MASK) & (hidden != text))[chosen].double().mean().item()
print(
    f"chosen: {chosen[words].double().mean():.3f} of the words; of these {became_mask:.3f} masked, {became_other:.3f} changed"
)
assert abs(chosen[words].double().mean().item() - P_MASK) < 0.01
assert abs(became_mask - MASKED) < 0.02
assert abs(became_other - RANDOM * 5 / 6) < 0.02  # one in six draws the word that was there

# %% [markdown]
# ## Algorithm 13. DTraining
#
# In: texts $x_n$, $\theta$, epochs and $\eta$. Out: $\hat\theta$. The loss of a text is
# $-\sum_{t=1}^{\ell-1} \ln P[x_n[t+1], t]$.
#
# Ours by default makes one running text of all and cuts windows of `max_length` tokens out of it, new ones each epoch:
# `window` gives inputs and, one token later, targets. A window that is one text is the paper's.

# %%
import numpy as np

from pellucid.tasks.language_modelling import WindowBatch
from pellucid.tasks.windows import window, window_loss


def DTraining_loss(model, x):
    P = DTransformer(x, model)
    return -sum(torch.log(P[x[t + 1], t]) for t in range(len(x) - 1))


texts = [[9, 5, 7, 7, 3, 10], [9, 0, 10], [9, 4, 8, 6, 10]]
batches = [WindowBatch(*window(np.array(x), np.array([0]), context=len(x) - 1)) for x in texts]
by_hand, trained = copy.deepcopy(decoder), copy.deepcopy(decoder)
descend(by_hand, DTraining_loss, texts)
train(
    trained,
    Given(batches, lambda batch: batch.target.numel(), lambda model, batch: window_loss(model, batch.ids, batch.target)),
)
assert same_weights(trained, by_hand)
assert not same_weights(trained, decoder)

# %% [markdown]
# ## Algorithm 14. DInference
#
# In: a prompt $x$, $\hat\theta$, the number of tokens $\ell_{gen}$ and a temperature $\tau$. Out: $\ell_{gen}$ tokens. At
# each step $p$ is the last column of $P$, and the next token is drawn from $q \propto p^{1 / \tau}$.
#
# Ours divides logits by $\tau$, which is that power. It keeps keys and values, so that a step computes one new column and
# not all of them, and feeds the prompt without its last token first. A draw is a number from 0 to 1 made of a seed and the
# position alone, and the first token at which the sum of $q$ passes it; so here both draw the same. `temperature: 0` is the
# limit $\tau \to 0$, the most probable token. Also: `top_k` and `top_p`, applied after the temperature, and tokens that may
# be forbidden.

# %%
from pellucid.base.config import DecodingConfig
from pellucid.decoding.filters import tempered
from pellucid.decoding.sampling import uniform
from pellucid.decoding.search import search

torch.set_grad_enabled(False)


def drawn(p, tau, seed, position):
    """A token from q, which is p^(1 / tau) over the sum of these."""
    q = (p / p.max()) ** (1 / tau)  # divided by the largest, lest all be too small for a float64
    q = q / q.sum()
    assert agree(torch.softmax(tempered(torch.log(p)[None], tau)[0], dim=0), q)
    sums = 0.0
    for token in range(len(q)):
        sums += q[token].item()
        if sums > uniform(seed, position):
            return token
    raise AssertionError("the shares sum to less than 1")


def DInference(x, model, length, tau, seed):
    x = list(x)
    for i in range(length):
        P = DTransformer(x, model)
        x.append(drawn(P[:, -1], tau, seed, i))
    return x[-length:]


def ours_from_prompt(x, model, length, tau, seed):
    source, limits = torch.tensor([x[:-1]]), torch.tensor([length])
    mask, last = torch.ones_like(source, dtype=torch.bool), torch.tensor(x[-1:])
    config = DecodingConfig(beams=1, temperature=tau)
    [[best]] = search(model, source, mask, config, start=last, end=None, limits=limits, seeds=[seed])
    return list(best.ids)


prompt = [9, 5, 7]
for tau in (0.3, 1.0, 3.0):
    for seed in (1, 2):
        written = DInference(prompt, decoder, length=8, tau=tau, seed=seed)
        print(f"temperature {tau}, seed {seed}:", *written)
        assert ours_from_prompt(prompt, decoder, length=8, tau=tau, seed=seed) == written
assert ours_from_prompt(prompt, decoder, 8, 0.0, 1) == DInference(prompt, decoder, 8, 1e-3, 1)

# %% [markdown]
# ## Algorithm 15. EDInference
#
# In: a context $z$, $\hat\theta$ and $\tau$. Out: a sequence $\hat x$ that begins with the start token and is drawn token
# by token until the end token comes.
#
# Ours gives what lies between the two. It has a limit, by default the length of the source and 50 more, where the paper
# waits for an end that need not come. And by default a translation is not drawn but looked for, with beams; drawing is
# asked for by a temperature.

# %%
START, END = 9, 10


def EDInference(z, model, tau, seed, most):
    x = [START]
    while x[-1] != END and len(x) <= most:  # the paper has no limit
        P = EDTransformer(z, x, model)
        x.append(drawn(P[:, len(x) - 1], tau, seed, len(x) - 1))
    return x


source, limits = torch.tensor([z]), torch.tensor([12])
mask = torch.ones_like(source, dtype=torch.bool)
reasons = set()
for tau in (1.0, 3.0):
    for seed in (1, 2, 3):
        written = EDInference(z, both, tau, seed, most=12)
        config = DecodingConfig(beams=1, temperature=tau)
        [[best]] = search(both, source, mask, config, start=START, end=END, limits=limits, seeds=[seed])
        print(f"temperature {tau}, seed {seed}:", *written)
        assert [START, *best.ids] == (written[:-1] if best.reason == "end" else written)
        assert (best.reason == "end") == (written[-1] == END)
        reasons.add(best.reason)
assert reasons == {"end", "length"}  # both occur

torch.set_grad_enabled(True)

# %% [markdown]
# ## Where to go on
#
# - Why the architecture is what it is, number by number: `docs/tutorial/from_the_paper_to_the_code.py`.
# - Every setting that is named here: `docs/reference/recipe.md`. The search in full: `docs/reference/decoding.md`.
