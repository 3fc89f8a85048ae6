"""Recurrent encoders and decoders: the contract of decoding, padding, beams, gradients, and that they learn.

B 4 rows, S 7 source and T 5 target positions, embeddings of 24, states of 10, 2 encoder and 3 decoder layers, 17 tokens.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from examples import CONFIG, SOURCE, SOURCE_MASK, TARGET, B, D, S, T, V, close, ids, randomised, real
from torch import Tensor, nn

from pellucid.base.config import DecodingConfig, HeadConfig, ModelConfig, PictureConfig, StackConfig
from pellucid.base.recurrent import RecurrentConfig
from pellucid.decoding.search import search
from pellucid.model.build import build, initialise
from pellucid.model.packed import packed, quantised

H = 10
KINDS, ATTENTIONS = ("rnn", "gru", "lstm"), ("none", "additive", "dot")
STACKS = {"encoder": StackConfig(n_layers=2), "decoder": StackConfig(n_layers=3)}
ALL = list(product(KINDS, ATTENTIONS))


def shape(cell: str = "gru", attention: str = "none", **changes: Any) -> ModelConfig:
    own = {name: changes.pop(name) for name in ("bidirectional", "bridge", "hidden") if name in changes}
    recurrent = RecurrentConfig(cell, **{"hidden": H, "attention": attention, **own})  # type: ignore[arg-type]
    return replace(CONFIG, **{**STACKS, "recurrent": recurrent, "tie": "embeddings", **changes})


def make(cell: str = "gru", attention: str = "none", dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    return randomised(build(shape(cell, attention, **changes)), dtype=dtype)


def stepped(model: Any, target: Tensor, state: Any) -> Tensor:
    logits = []
    for column in target.T:
        found, state = model.step(column[:, None], state)
        logits.append(found)
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize(("cell", "attention"), ALL)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_steps_give_what_one_pass_gives(cell: str, attention: str, bidirectional: bool) -> None:
    model = make(cell, attention, bidirectional=bidirectional)
    whole = model(SOURCE, TARGET, source_mask=SOURCE_MASK)
    assert whole.shape == (B, T, V)
    close(stepped(model, TARGET, model.start(model.encode(SOURCE, SOURCE_MASK))), whole)
    several, state = model.step(TARGET[:, :3], model.start(model.encode(SOURCE, SOURCE_MASK)))
    assert state.length == 3
    close(several, whole[:, :3])
    close(model.step(TARGET[:, 3:], state)[0], whole[:, 3:])


@pytest.mark.parametrize(("cell", "attention"), ALL)
def test_looking_at_it_changes_nothing(cell: str, attention: str) -> None:
    model = make(cell, attention)
    target_mask = real([4, 5, 2, 3], T).flip(1)
    for mask in (None, target_mask):
        given = {"source_mask": SOURCE_MASK, "target_mask": mask}
        close(model(SOURCE, TARGET, **given, tap=lambda name, tensor: tensor), model(SOURCE, TARGET, **given))


@pytest.mark.parametrize(("cell", "attention"), ALL)
@pytest.mark.parametrize("bridge", ["last", "mean"])
def test_a_row_alone_is_the_row_among_others(cell: str, attention: str, bridge: str) -> None:
    model = make(cell, attention, bridge=bridge)
    together = model(SOURCE, TARGET, source_mask=SOURCE_MASK)
    left = model(SOURCE.flip(1), TARGET, source_mask=SOURCE_MASK.flip(1))
    for row in range(B):
        source, target = SOURCE[row : row + 1, SOURCE_MASK[row]], TARGET[row : row + 1]
        close(model(source, target), together[row : row + 1])
        close(model(source.flip(1), target), left[row : row + 1])


@pytest.mark.parametrize(("cell", "attention"), ALL)
def test_the_future_changes_nothing_earlier(cell: str, attention: str) -> None:
    model, other = make(cell, attention), TARGET.clone()
    other[:, 3:] = ids(B, 2, seed=9)
    one, two = (model(SOURCE, target, source_mask=SOURCE_MASK) for target in (TARGET, other))
    assert torch.equal(one[:, :3], two[:, :3])
    assert not torch.equal(one[:, 3:], two[:, 3:])


@pytest.mark.parametrize(("cell", "attention"), ALL)
def test_beams_are_reordered_dropped_and_cut_back(cell: str, attention: str) -> None:
    """Two sentences with two beams: whatever was chosen, each row goes on as the text that it stands for."""
    model, source, mask = make(cell, attention), SOURCE[:2], SOURCE_MASK[:2]
    tokens = ids(4, 3, seed=5)
    state = model.start(model.encode(source, mask), beams=2)
    model.step(tokens[:, :2], state)
    rows = torch.tensor([1, 1, 3, 2])
    state.select(rows)
    last = ids(4, 1, seed=6)
    written = torch.cat((tokens[rows, :2], last), dim=1)
    twice = torch.tensor([0, 0, 1, 1])
    close(model.step(last, state)[0][:, 0], model(source[twice], written, source_mask=mask[twice])[:, -1])
    state.select(torch.tensor([2, 3]))  # the first sentence is done
    state.truncate(1)
    written = torch.cat((tokens[rows[2:], :1], last[:2]), dim=1)
    close(model.step(last[:2], state)[0][:, 0], model(source[[1, 1]], written, source_mask=mask[[1, 1]])[:, -1])


@pytest.mark.parametrize(("cell", "attention"), [("lstm", "none"), ("gru", "additive"), ("rnn", "dot")])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_search_writes_alone_what_it_writes_in_a_batch(cell: str, attention: str, beams: int) -> None:
    model = make(cell, attention)

    def written(source: Tensor, mask: Tensor) -> list[tuple[int, ...]]:
        config = DecodingConfig(beams=beams)
        found = search(model, source, mask, config, start=1, end=2, limits=torch.full((len(source),), 9), forbidden=(0, 1))
        return [best.ids for best, *_ in found]

    together = written(SOURCE, SOURCE_MASK)
    alone = [written(SOURCE[n : n + 1, SOURCE_MASK[n]], SOURCE_MASK[n : n + 1, SOURCE_MASK[n]])[0] for n in range(B)]
    assert together == alone
    assert len(set(together)) > 1


@pytest.mark.parametrize("cell", KINDS)
def test_a_decoder_alone_goes_on_after_any_prompt(cell: str) -> None:
    """Prompts of 4, 0, 2 and 3 tokens, padded on either side."""
    model = make(cell, architecture="decoder")
    prompts, next_ids, lengths = ids(B, 4, seed=7), ids(B, T, seed=8), [4, 0, 2, 3]
    for side in ("left", "right"):
        mask = real(lengths, 4) if side == "right" else real(lengths, 4).flip(1)
        found = stepped(model, next_ids, model.start(model.encode(prompts, mask)))
        for row in range(B):
            whole = torch.cat((prompts[row : row + 1, mask[row]], next_ids[row : row + 1]), dim=1)
            close(found[row : row + 1], model(whole)[:, lengths[row] :])


def test_a_decoder_alone_begins_with_several_beams() -> None:
    model = make("lstm", architecture="decoder")
    for prompt in (ids(2, 3), torch.empty(2, 0, dtype=torch.int64)):
        state = model.start(model.encode(prompt, torch.ones_like(prompt, dtype=torch.bool)), beams=2)
        found, _ = model.step(ids(4, 1, seed=4), state)
        close(found, model(torch.cat((prompt.repeat_interleave(2, 0), ids(4, 1, seed=4)), dim=1))[:, -1:])


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("pool", ["last", "mean", "none"])
def test_an_encoder_alone_pools_its_last_state_or_the_mean(pool: str, bidirectional: bool) -> None:
    head = HeadConfig(pool=pool, bias=True)  # type: ignore[arg-type]
    model = make("lstm", architecture="encoder", tie="none", head=head, bidirectional=bidirectional)
    memory = model.encode(SOURCE, SOURCE_MASK)
    logits = model(SOURCE, source_mask=SOURCE_MASK)
    if pool == "last":
        x = memory.final[-1][0]
    elif pool == "mean":
        x = torch.stack([memory.states[-1][row, SOURCE_MASK[row]].mean(0) for row in range(B)])
    else:
        x = memory.states[-1]
    close(logits, x @ model.weight("output").T + model.head.bias)
    assert x.shape[-1] == (2 * H if bidirectional else H)


def test_one_vector_is_all_that_a_decoder_without_attention_knows() -> None:
    model = make("lstm")
    memory = model.encode(SOURCE, SOURCE_MASK)
    forgotten = replace(memory, states=tuple(torch.zeros_like(states) for states in memory.states))
    assert torch.equal(model.decode(TARGET, memory), model.decode(TARGET, forgotten))
    with_attention = make("lstm", "dot")
    memory = with_attention.encode(SOURCE, SOURCE_MASK)
    forgotten = replace(memory, states=tuple(torch.zeros_like(states) for states in memory.states))
    assert not torch.equal(with_attention.decode(TARGET, memory), with_attention.decode(TARGET, forgotten))


@pytest.mark.parametrize(("n_encoder", "n_decoder", "read"), [(2, 3, [0, 0, 1]), (3, 1, [2]), (2, 2, [0, 1])])
def test_the_last_layers_meet(n_encoder: int, n_decoder: int, read: list[int]) -> None:
    stacks = {"encoder": StackConfig(n_layers=n_encoder), "decoder": StackConfig(n_layers=n_decoder)}
    model = make("lstm", **stacks)
    final = model.encode(SOURCE, SOURCE_MASK).final
    expected = []
    for bridge, layer in zip(model.decoder.bridges, read, strict=True):
        hidden, cell = final[layer]
        expected += [
            torch.tanh(hidden @ bridge.hidden.weight.T + bridge.hidden.bias),
            cell @ bridge.cell.weight.T + bridge.cell.bias,
        ]
    close(model.decoder.begin(final), torch.stack(expected))


def test_the_squares_of_a_picture_are_read_in_order() -> None:
    picture = PictureConfig(patch=2, height=4, width=6, channels=1)
    model = make("lstm", picture=picture, bridge="mean", source_vocabulary=0)
    pixels = torch.randn(B, 1, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits = model(pixels, TARGET)
    assert logits.shape == (B, T, V)
    close(model(pixels[1:2], TARGET[1:2]), logits[1:2])
    assert not torch.equal(model(pixels.flip(3), TARGET), logits)


@pytest.mark.parametrize(("cell", "attention"), ALL)
def test_every_weight_takes_part(cell: str, attention: str) -> None:
    model = make(cell, attention)
    model(SOURCE, TARGET, source_mask=SOURCE_MASK).square().sum().backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_a_seed_decides_every_weight() -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed + 100)
        model = build(shape("lstm", "additive"))
        initialise(model, seed)
        return model.state_dict()

    one, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if "bias" not in name or "rnn" in name)
    bound = H**-0.5
    assert all(weight.abs().max() <= bound for name, weight in one.items() if ".rnn." in name)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_packed_and_in_8_bits_it_writes_on(attention: str) -> None:
    """The recurrent layers stay as they are; what else is multiplied is laid out, or in 8 bits."""
    model = make("lstm", attention, torch.float32)
    expected = model(SOURCE, TARGET, source_mask=SOURCE_MASK)
    laid = packed(model)
    close(laid(SOURCE, TARGET, source_mask=SOURCE_MASK), expected, 1e-5)
    small = quantised(model)
    found = small(SOURCE, TARGET, source_mask=SOURCE_MASK)
    assert not torch.equal(found, expected)
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()
    assert small.decoder.layers[0].rnn.weight_ih_l0.data_ptr() == model.decoder.layers[0].rnn.weight_ih_l0.data_ptr()


@pytest.mark.parametrize(("cell", "attention", "steps"), [("lstm", "none", 250), ("gru", "additive", 120), ("gru", "dot", 120)])
def test_it_learns_to_reverse(cell: str, attention: str, steps: int) -> None:
    """64 texts of six letters, by heart: each letter of the reversed text is the most probable one."""
    config = shape(cell, attention, hidden=48, encoder=StackConfig(n_layers=1), decoder=StackConfig(n_layers=1))
    model: Any = build(replace(config, dropout=0.0))
    initialise(model, 1)
    source = ids(64, 6, seed=11)
    wanted = source.flip(1)
    read = torch.cat((torch.ones(64, 1, dtype=torch.int64), wanted[:, :-1]), dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(source, read).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = (model.eval()(source, read).argmax(-1) == wanted).float().mean()
    assert right > 0.95


def test_sizes() -> None:
    """By hand, GRU, embeddings 24, states 10 both ways, additive attention."""
    model = build(shape("gru", "additive", encoder=StackConfig(n_layers=1), decoder=StackConfig(n_layers=1)))
    encoder = 2 * (3 * H * D + 3 * H * H + 2 * 3 * H)
    decoder = 3 * H * (D + 2 * H) + 3 * H * H + 2 * 3 * H
    bridge, attention, output = 2 * H * H + H, H * H + 2 * H * H + H + H, (H + 2 * H) * H
    words = V * D + V * H
    assert sum(weight.numel() for weight in model.parameters()) == encoder + decoder + bridge + attention + output + words
    assert S > T
