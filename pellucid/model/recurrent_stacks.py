"""Recurrent encoder and decoder, with or without attention, in the places of the Transformer's stacks.

Without attention one vector stands between the two (Sutskever et al., "Sequence to Sequence Learning with Neural Networks",
2014, section 2; Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
2014, section 2.2). Additive attention is that of Bahdanau et al. ("Neural Machine Translation by Jointly Learning to Align and
Translate", 2015), dot-product attention that of Luong et al. ("Effective Approaches to Attention-based Neural Machine
Translation", 2015).

Shapes: B sentences, S source positions, R target rows (B times beams), T target positions, D width of an embedding, H width of
a state, M width of what the encoder hands over at a position (H, or 2H of both directions).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pellucid.base.taps import Tap, within
from pellucid.model.attention import Score, attend, attend_in_steps
from pellucid.model.block import KeyValue
from pellucid.model.cache import StateCache
from pellucid.model.dropout import Dropout
from pellucid.model.embedding import PatchEmbedding, TokenEmbedding
from pellucid.model.heads import POOLS
from pellucid.model.masks import Mask, ResolvedMask
from pellucid.model.packing import behind
from pellucid.model.positions import Positions
from pellucid.model.recurrent import RecurrentLayer, States, Unfolding, kept


class RecurrentEncoder(nn.Module):
    """A stack of recurrent layers over the embedded source.

    Args:
        embed: the embedding box, of tokens or of the squares of a picture.
        layers: in order.
        dropout: between the layers.
    """

    def __init__(self, *, embed: TokenEmbedding | PatchEmbedding, layers: Sequence[RecurrentLayer], dropout: Dropout) -> None:
        super().__init__()
        self.embed, self.dropout = embed, dropout
        self.layers = nn.ModuleList(layers)

    def forward(
        self,
        source: Tensor,
        weight: Tensor | None,
        keys: Tensor | None,
        *,
        types: Tensor | None = None,
        tap: Tap | None = None,
    ) -> tuple[tuple[Tensor, ...], tuple[States, ...]]:
        """As :class:`pellucid.model.encoder.Encoder`: the states (B, S, M) of every layer, and what each carried at last."""
        x = self.embed(source, weight, None, types=types, tap=within(tap, "embed"))
        states, finals = [], []
        for number, layer in enumerate(self.layers):
            inside = within(tap, "layers", number)
            x, final = layer(x if number == 0 else self.dropout(x), keys, tap=inside)
            x = x if inside is None else inside("out", x)
            states.append(x)
            finals.append(final)
        states[-1] = self.dropout(x)
        if tap is not None:
            states[-1] = tap("out", states[-1])
        return tuple(states), tuple(finals)


class MemoryAttention(nn.Module):
    """One look at the encoder's states for each state of the decoder.

    Additive: ``v^T tanh(W s + U h)`` (Bahdanau et al., section 3.1 and appendix A.1.2). Dot product: ``s^T W h`` (Luong et al.,
    "general", section 3.1), since the two sides may differ in width. What is averaged are the states themselves.

    Args:
        query: of the decoder's states, H -> H; ``None``: as they are.
        key: of the encoder's states, M -> H.
        score: the match of the two.
        dropout: on the attention weights.
    """

    def __init__(self, *, query: nn.Module | None, key: nn.Module, score: Score, dropout: Dropout) -> None:
        super().__init__()
        self.query, self.key, self.score, self.dropout = query, key, score, dropout

    def project(self, states: Tensor, tap: Tap | None = None) -> KeyValue:
        """Keys (B, 1, S, H) and values (B, 1, S, M) of the encoder's states (B, S, M)."""
        key = self.key(states)[:, None]
        if tap is not None:
            key = tap("k_projected", key)
        return key, states[:, None]

    def forward(self, x: Tensor, memory: KeyValue, mask: ResolvedMask | None, tap: Tap | None = None) -> Tensor:
        """What the states ``x`` (R, T, H) find: (R, T, M). Beams of a sentence stand in one row and share its memory."""
        key, value = memory
        query = x.reshape(len(key), 1, -1, x.shape[-1])  # (B, 1, R / B * T, H)
        if self.query is not None:
            query = self.query(query)
            query = query if tap is None else tap("q_projected", query)
        if tap is None:
            z = attend(query, key, value, self.score, mask, self.dropout)
        else:
            z = attend_in_steps(tap("q", query), key, value, self.score, mask, self.dropout, tap)
        return z.reshape(*x.shape[:2], -1)


class Bridge(nn.Module):
    """The state that a layer of the decoder begins with, from what the encoder carried at last (Bahdanau et al., A.2.2).

    Args:
        hidden: M -> H.
        cell: the same for an LSTM's cell; else ``None``.
    """

    def __init__(self, *, hidden: nn.Module, cell: nn.Module | None) -> None:
        super().__init__()
        self.hidden, self.cell = hidden, cell

    def forward(self, final: States, tap: Tap | None = None) -> States:
        """(B, M) each -> (B, H) each. A cell has no bounds, so that no tanh is put around it."""
        hidden = torch.tanh(self.hidden(final[0]))
        hidden = hidden if tap is None else tap("hidden", hidden)
        if self.cell is None:
            return (hidden,)
        cell = self.cell(final[-1])
        return hidden, cell if tap is None else tap("cell", cell)


class RecurrentDecoder(nn.Module):
    """A stack of recurrent layers over the embedded target; one that stands alone has neither bridges nor attention.

    Args:
        embed: the embedding box.
        layers: in order.
        dropout: between the layers, and on the last one's output.
        bridges: one a layer.
        attention: to the encoder's states; ``None``: the states that it begins with are all that it knows of the source.
        feeds: whether the state before a position attends, and what it finds goes into the cell beside the embedding
            (Bahdanau et al., section 3.1). Else the new state attends, and nothing of that goes back (Luong et al., section 3,
            without the input feeding of 3.3).
        output: H + M -> H, with a tanh around it, where there is attention: Luong's equation 5, also in place of the maxout
            layer of Bahdanau et al.
    """

    def __init__(
        self,
        *,
        embed: TokenEmbedding,
        layers: Sequence[RecurrentLayer],
        dropout: Dropout,
        bridges: Sequence[Bridge] = (),
        attention: MemoryAttention | None = None,
        feeds: bool = False,
        output: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.embed, self.dropout = embed, dropout
        self.layers, self.bridges = nn.ModuleList(layers), nn.ModuleList(bridges)
        self.cross_attn, self.feeds, self.output = attention, feeds, output
        self.positions = Positions()  # none: as long as you like

    def caches(self) -> list[StateCache]:
        """What keeps the states so far, of all layers together; nothing is there yet."""
        return [StateCache()]

    def project(self, states: Sequence[Tensor], keys: Tensor | None = None, tap: Tap | None = None) -> list[KeyValue]:
        """Keys and values of the encoder's states, those of padding too; none without attention."""
        if self.cross_attn is None:
            return []
        return [self.cross_attn.project(states[-1], within(tap, "layers", len(self.layers) - 1, "cross_attn"))]

    def begin(self, final: Sequence[States], tap: Tap | None = None) -> Tensor:
        """The states (N, B, H) before the first position, from what each layer of the encoder carried at last.

        The last layer goes on from the encoder's last, the one below from the one below; where there is none, from the first.
        """
        lower = len(final) - len(self.bridges)
        begun = [
            bridge(final[max(number + lower, 0)], within(tap, "layers", number, "bridge"))
            for number, bridge in enumerate(self.bridges)
        ]
        return _stacked(begun)

    def forward(
        self,
        ids: Tensor,
        weight: Tensor,
        memory: Sequence[KeyValue] = (),
        *,
        keys: Tensor | None = None,
        memory_keys: Tensor | None = None,
        caches: Sequence[StateCache] = (),
        begun: Tensor | None = None,
        tap: Tap | None = None,
    ) -> Tensor:
        """Decode ``ids`` (R, T), embedded by ``weight`` (V, D): (R, T, H). As :class:`pellucid.model.decoder.Decoder` does it.

        Args:
            ids, weight, memory, keys, memory_keys, tap: as there. ``keys`` may be of the tokens before ``ids`` as well.
            caches: one: of the states after the positions before ``ids``; appended to.
            begun: the states from :meth:`begin`, where there are no caches; ``None``: zeros.
        """
        x = self.embed(ids, weight, None, tap=within(tap, "embed"))  # (R, T, D)
        begun = caches[0].now if caches else begun
        states = [layer.zeros(x) for layer in self._layers] if begun is None else self._parted(begun)
        if keys is not None and not caches and tap is None and behind(keys):
            keys = None  # no state sees what comes after it
        mask = None if keys is None else keys[:, -ids.shape[1] :]
        memory_mask = Mask(memory_keys).resolve(1, memory[0][0].shape[2], like=x) if memory else None
        at_last = within(tap, "layers", len(self.layers) - 1, "cross_attn")
        if memory and at_last is not None:
            memory = [(at_last("k", memory[0][0]), at_last("v", memory[0][1]))]
        found = None
        if caches or self.feeds or tap is not None:
            x, found = self._one_by_one(x, states, mask, memory, memory_mask, caches, tap)
        else:
            for number, layer in enumerate(self._layers):
                x, _ = layer(x if number == 0 else self.dropout(x), mask, states[number])
        if self.cross_attn is not None and memory:
            if found is None:
                found = self.cross_attn(x, memory[0], memory_mask, at_last)  # (R, T, M)
            assert self.output is not None
            x = torch.tanh(self.output(torch.cat((x, found), dim=-1)))
            x = x if tap is None else tap("attentional", x)
        x = self.dropout(x)
        return x if tap is None else tap("out", x)

    def _one_by_one(
        self,
        x: Tensor,
        states: list[States],
        mask: Tensor | None,
        memory: Sequence[KeyValue],
        memory_mask: ResolvedMask | None,
        caches: Sequence[StateCache],
        tap: Tap | None,
    ) -> tuple[Tensor, Tensor | None]:
        """The last layer's states (R, T, H), and where they feed on it, what was found by those before them, (R, T, M)."""
        taps = [within(tap, "layers", number) for number in range(len(self.layers))]
        shows = [None if inside is None else Unfolding(within(inside, "forward") or inside, x.shape[1]) for inside in taps]
        ends = [None if inside is None else Unfolding(inside, x.shape[1]) for inside in taps]
        inside = within(taps[-1], "cross_attn")
        look = None if inside is None else Unfolding(inside, x.shape[1])
        outs, contexts = [], []
        for position in range(x.shape[1]):
            one = x[:, position : position + 1]  # (R, 1, D)
            for show in (*shows, *ends, look):
                if show is not None:
                    show.position = position
            if self.feeds and self.cross_attn is not None:
                context = self.cross_attn(states[-1][0][:, None], memory[0], memory_mask, look)  # (R, 1, M)
                contexts.append(context)
                one = torch.cat((one, context.to(one.dtype)), dim=-1)
            for number, layer in enumerate(self._layers):
                one = one if number == 0 else self.dropout(one)
                show = shows[number]
                new = layer(one, begun=states[number])[1] if show is None else layer.step(one, states[number], show)
                if mask is not None:
                    new = kept(mask[:, position], new, states[number])
                states[number] = new
                one = new[0][:, None] if mask is None else new[0][:, None] * mask[:, position, None, None]
                end = ends[number]
                one = one if end is None else end("out", one)
            outs.append(one)
            if caches:
                caches[0].append(_stacked(states))
        return torch.cat(outs, dim=1), torch.cat(contexts, dim=1) if contexts else None

    @property
    def _layers(self) -> list[RecurrentLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def _parted(self, states: Tensor) -> list[States]:
        """(N, R, H) -> the states of each layer."""
        each = self._layers[0].n_states
        return [tuple(states[first : first + each]) for first in range(0, len(states), each)]


def _stacked(states: Sequence[States]) -> Tensor:
    return torch.stack([state for layer in states for state in layer])


def mean_of(states: Sequence[Tensor], mask: Tensor | None, n_states: int) -> tuple[States, ...]:
    """In place of what each layer carried at last the mean of its states (B, S, M), for hidden state and cell alike."""
    return tuple((POOLS["mean"](layer, mask),) * n_states for layer in states)
