"""Recurrent layers: what came before the Transformer, one position after the other.

Shapes: B rows, T positions, D width of what comes in, H width of a state, G gates (1, 3 or 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pellucid.base.taps import Tap

# What is carried from position to position, each (B, H), or (B, 2H): both directions side by side.
# One tensor, the hidden state; of an LSTM two, the hidden state and the cell.
States = tuple[Tensor, ...]
ShowAt = Callable[[str, Tensor], Tensor]


class Unfolding(Tap):
    """Shows what is computed position by position: at each one the whole so far, with zeros where nothing is computed yet.

    A tap is thus shown T times, complete at last, and what it returns for a position is what the next ones are computed from.

    Args:
        tap: that is called.
        length: T.
    """

    def __init__(self, tap: Tap, length: int) -> None:
        super().__init__(tap.tapper, tap.prefix)
        self.length, self.position = length, 0
        self._whole: dict[str, Tensor] = {}

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        """One position of a tap, (..., 1, width), as it shall be."""
        at, whole = self.position, self._whole.get(name)
        if whole is None:
            whole = tensor.new_zeros(*tensor.shape[:-2], self.length, tensor.shape[-1])
        self._whole[name] = whole = torch.cat((whole[..., :at, :], tensor, whole[..., at + 1 :, :]), dim=-2)
        return super().__call__(name, whole)[..., at : at + 1, :]


def rnn_step(x: Tensor, h: Tensor, states: States, show: ShowAt) -> States:
    """``tanh(W x + b + U h + c)`` (Elman, 1990). ``x`` is W x + b and ``h`` is U h + c, (B, 1, G * H) each, of every cell."""
    return (show("hidden", torch.tanh(x + h)),)


def gru_step(x: Tensor, h: Tensor, states: States, show: ShowAt) -> States:
    """The gated unit of Cho et al. (2014, section 2.3): reset r, update z, candidate n; the state is ``(1 - z) n + z h``.

    As torch has it, and not the paper, r comes after the product with U, and z is what is kept.
    """
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, dim=-1), h.chunk(3, dim=-1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    r, z, n = show("gates", torch.cat((r, z, torch.tanh(x_n + r * h_n)), dim=-1)).chunk(3, dim=-1)
    return (show("hidden", (1.0 - z) * n + z * states[0]),)


def lstm_step(x: Tensor, h: Tensor, states: States, show: ShowAt) -> States:
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; the forget gate is of Gers et al., 2000).

    The gates, in torch's order: input i, forget f, candidate g, output o.
    """
    i, f, g, o = (x + h).chunk(4, dim=-1)
    gates = torch.cat((torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)), dim=-1)
    i, f, g, o = show("gates", gates).chunk(4, dim=-1)
    cell = show("cell", f * states[1] + i * g)
    return show("hidden", o * torch.tanh(cell)), cell


KINDS: dict[str, tuple[type[nn.RNNBase], Callable[[Tensor, Tensor, States, ShowAt], States]]] = {
    "rnn": (nn.RNN, rnn_step),
    "gru": (nn.GRU, gru_step),
    "lstm": (nn.LSTM, lstm_step),
}


class RecurrentLayer(nn.Module):
    """One layer, forwards or both ways: torch's own arithmetic, and beside it the definition, with every step shown.

    Args:
        kind: ``"rnn"``, ``"gru"`` or ``"lstm"``.
        d_in: D.
        d_hidden: H, of each direction.
        both_ways: whether a second set of weights reads from the end.
    """

    def __init__(self, kind: str, d_in: int, d_hidden: int, *, both_ways: bool) -> None:
        super().__init__()
        make, self._step = KINDS[kind]
        self.n_states = 2 if kind == "lstm" else 1
        self.directions = ("forward", "backward") if both_ways else ("forward",)
        self.d_hidden = d_hidden
        self.rnn = make(input_size=d_in, hidden_size=d_hidden, batch_first=True, bidirectional=both_ways)  # type: ignore[call-arg]

    def zeros(self, x: Tensor) -> States:
        """States before anything was read."""
        return tuple(x.new_zeros(len(x), self.d_hidden * len(self.directions)) for _ in range(self.n_states))

    def forward(
        self, x: Tensor, mask: Tensor | None = None, begun: States | None = None, tap: Tap | None = None
    ) -> tuple[Tensor, States]:
        """Reads ``x`` (B, T, D).

        Args:
            x: vectors of the positions.
            mask: (B, T) True = real; others, on whichever side, change nothing and get zeros. ``None``: all are real.
            begun: states to begin with; ``None``: zeros.
            tap: see :mod:`pellucid.base.taps`.

        Returns:
            The hidden state at every position, (B, T, H), both directions side by side (B, T, 2H), and the states at last.
        """
        # In the weights' own type also where products are in bfloat16: what is carried adds up its rounding.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.rnn.weight_ih_l0.dtype)  # type: ignore[arg-type]
            begun = self.zeros(x) if begun is None else tuple(state.to(x.dtype) for state in begun)
            if tap is not None:
                return self._in_steps(x, mask, begun, tap)
            before = self._as_torch(begun)
            if mask is None:
                out, after = self.rnn(x, before)
                return out, self._from_torch(after)
            out, after = _read_packed(self.rnn, x, mask, before)
            some = mask.any(1)[:, None]  # a row of nothing leaves all as it was
            return out, tuple(torch.where(some, new, old) for new, old in zip(self._from_torch(after), begun, strict=True))

    def _as_torch(self, states: States) -> Tensor | States:
        split = tuple(state.view(len(state), len(self.directions), -1).transpose(0, 1).contiguous() for state in states)
        return split if self.n_states > 1 else split[0]  # (directions, B, H)

    def _from_torch(self, states: Tensor | States) -> States:
        each = states if isinstance(states, tuple) else (states,)
        return tuple(state.transpose(0, 1).flatten(1) for state in each)

    def step(self, x: Tensor, states: States, show: ShowAt, direction: str = "forward") -> States:
        """One position by its definition: ``x`` (B, 1, D), states and what is returned (B, H) each."""
        end = "_l0_reverse" if direction == "backward" else "_l0"
        weights = dict(self.rnn.named_parameters())
        inward = F.linear(x, weights[f"weight_ih{end}"], weights[f"bias_ih{end}"])  # (B, 1, G * H)
        onward = F.linear(states[0][:, None], weights[f"weight_hh{end}"], weights[f"bias_hh{end}"])
        found = self._step(inward, onward, tuple(state[:, None] for state in states), show)
        return tuple(state[:, 0] for state in found)

    def _in_steps(self, x: Tensor, mask: Tensor | None, begun: States, tap: Tap) -> tuple[Tensor, States]:
        outs, finals = [], []
        halves = zip(*(state.chunk(len(self.directions), dim=-1) for state in begun), strict=True)
        for direction, states in zip(self.directions, halves, strict=True):
            show = Unfolding(Tap(tap.tapper, f"{tap.prefix}{direction}."), x.shape[1])
            hidden = [torch.empty(0)] * x.shape[1]
            for position in _order(x.shape[1], direction):
                show.position = position
                new = self.step(x[:, position : position + 1], states, show, direction)
                if mask is not None:
                    new = kept(mask[:, position], new, states)
                states, hidden[position] = new, new[0]
            out = torch.stack(hidden, dim=1)  # (B, T, H)
            outs.append(out if mask is None else out * mask[:, :, None])
            finals.append(states)
        return torch.cat(outs, dim=-1), tuple(torch.cat(some, dim=-1) for some in zip(*finals, strict=True))


def _order(length: int, direction: str) -> Iterator[int]:
    return iter(range(length)) if direction == "forward" else reversed(range(length))


def kept(real: Tensor, new: Sequence[Tensor], old: Sequence[Tensor]) -> States:
    """The new states of the rows that are ``real`` (B,), and the old ones of the others."""
    return tuple(torch.where(real[:, None], a, b) for a, b in zip(new, old, strict=True))


def _read_packed(rnn: nn.RNNBase, x: Tensor, mask: Tensor, before: Tensor | States) -> tuple[Tensor, Tensor | States]:
    """Padding left out, so that it changes nothing; torch packs what stands on the left."""
    order = torch.argsort(~mask, dim=1, stable=True)  # (B, T) real positions first, as they come
    moved = bool((mask[:, 1:] & ~mask[:, :-1]).any())  # somewhere padding stands before a real position
    x = x.gather(1, order[:, :, None].expand_as(x)) if moved else x
    lengths = mask.sum(1).clamp(min=1).cpu()
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    found, after = rnn(packed, before)
    out, _ = pad_packed_sequence(found, batch_first=True, total_length=x.shape[1])
    out = out.gather(1, torch.argsort(order, dim=1)[:, :, None].expand_as(out)) if moved else out
    return out * mask[:, :, None], after
