"""T5 against ``transformers``, whose root mean square is computed in float32: 1e-5 where it is left so, else 1e-9."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_decoders import (
    TOLERANCE,
    altered,
    check_exported,
    check_gradients,
    check_logits,
    check_outputs,
    differences,
    same_model,
    source_ids,
    target_ids,
    whole,
)
from parity import randomised, worst
from torch import Tensor, nn

import pellucid
from pellucid.base.config import EmbeddingConfig, HeadConfig, ModelConfig, PositionalConfig, RelativeConfig
from pellucid.base.errors import ModelError
from pellucid.exchange.mapping import relevant
from pellucid.exchange.t5 import FAMILY
from pellucid.tasks.imports import export_model, import_model

T5 = pytest.importorskip("transformers.models.t5.modeling_t5")

SHAPE = {"vocab_size": 37, "d_model": 12, "d_kv": 5, "d_ff": 18, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 3}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "t5": {},
    "1.1": {
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 5,
        "layer_norm_epsilon": 1e-3,
    },
    "silu": {"feed_forward_proj": "gated-silu", "tie_word_embeddings": False, "d_kv": 4, "num_decoder_layers": 1},
}
CONFIGURATIONS["1.1 made anew"] = {**CONFIGURATIONS["1.1"], "d_kv": 4}  # transformers 5 ties its output matrix
every = pytest.mark.parametrize("name", CONFIGURATIONS)


def theirs_for(name: str) -> Any:
    """A model of theirs; an output matrix of its own for 1.1, as its files have it."""
    config = T5.T5Config(**SHAPE | CONFIGURATIONS[name], decoder_start_token_id=0)
    model = T5.T5ForConditionalGeneration(config)
    if not config.scale_decoder_outputs and name != "1.1 made anew":
        model.lm_head.weight = nn.Parameter(torch.empty(37, 12))
        model.all_tied_weights_keys.pop("lm_head.weight")
    model = randomised(model)
    with torch.no_grad():  # scores are not divided by sqrt(d_kv), and saturate with larger weights
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith((".q.weight", ".k.weight")):
                parameter.mul_(0.5)
    return model


@pytest.fixture
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their norm without its rounding to float32."""

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.weight * x / (x.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()

    monkeypatch.setattr(T5.T5LayerNorm, "forward", forward)


@every
@pytest.mark.usefixtures("_exact")
def test_logits(name: str) -> None:
    check_logits(theirs_for(name), FAMILY)


@every
def test_logits_with_their_rounding(name: str) -> None:
    check_logits(theirs_for(name), FAMILY, tolerance=1e-5)


@every
@pytest.mark.usefixtures("_exact")
def test_gradients(name: str) -> None:
    check_gradients(theirs_for(name), FAMILY)


@pytest.mark.usefixtures("_exact")
def test_distances_up_to_the_largest_and_beyond() -> None:
    theirs = theirs_for("t5")
    ours, _ = same_model(theirs, FAMILY)
    source, target = source_ids(37, length=140), target_ids(37, length=151)
    with torch.no_grad():
        assert worst(ours(source, target), whole(theirs, source, target)) < TOLERANCE


@every
def test_greedy_outputs(name: str) -> None:
    check_outputs(theirs_for(name), FAMILY)


@every
def test_their_class_loads_what_is_exported(name: str, tmp_path: Path) -> None:
    check_exported(theirs_for(name), FAMILY, tmp_path)


@pytest.mark.parametrize("slip", ["epsilon", "activation", "scale of the head", "scale of embeddings", "buckets", "scores"])
@pytest.mark.usefixtures("_exact")
def test_a_slip_shows(slip: str) -> None:
    theirs = theirs_for("1.1")
    ours, described = same_model(theirs, FAMILY)
    model = described.model
    slips: dict[str, ModelConfig] = {
        "epsilon": replace(model, norm_epsilon=1e-6),
        "activation": replace(model, activation="geglu"),
        "scale of the head": replace(model, head=HeadConfig(scale=True)),
        "scale of embeddings": replace(model, embedding=EmbeddingConfig(scale=True)),
        "buckets": replace(model, positional=PositionalConfig(relative=RelativeConfig(buckets=8, max_distance=9))),
        "scores": replace(model, attention="dot"),
    }
    found = differences(altered(ours, slips[slip]), theirs)
    assert min(found.values()) > 1e3 * TOLERANCE, found


@pytest.mark.usefixtures("_exact")
def test_gate_and_hidden_exchanged_show() -> None:
    theirs = theirs_for("1.1")
    ours, _ = same_model(theirs, FAMILY)
    feed_forward: Any = ours.decoder.layers[1].feed_forward
    feed_forward.gate, feed_forward.hidden = feed_forward.hidden, feed_forward.gate
    found = differences(ours, theirs)
    assert min(found.values()) > 1e3 * TOLERANCE, found


def test_description() -> None:
    found = FAMILY.describe(SHAPE | {"dropout_rate": 0.2, "n_positions": 96}, "T5ForConditionalGeneration")
    assert found.task == "denoising"
    assert found.controls == {"pad": 0, "start": 0, "end": 1}
    model = found.model
    assert (model.encoder.n_layers, model.decoder.n_layers, model.encoder.n_heads, model.decoder.d_head) == (2, 3, 3, 5)
    assert (model.dropout, model.attention_dropout, model.activation_dropout, model.head.dropout) == (0.2, 0.2, 0.2, 0.2)
    assert (model.max_length, model.tie, model.activation, model.head.scale) == (96, "all", "relu", True)
    assert model.positional.relative == RelativeConfig(buckets=32, max_distance=128)


@pytest.mark.parametrize(
    "said", [{"tie_word_embeddings": False}, {"tie_word_embeddings": True, "scale_decoder_outputs": False}]
)
def test_1_1_is_known_by_either_setting_and_the_names_in_its_file_tell_what_is_tied(said: dict[str, bool]) -> None:
    described = FAMILY.describe(SHAPE | said, "T5ForConditionalGeneration")
    for names, tie in (({"shared.weight", "lm_head.weight"}, "embeddings"), ({"shared.weight"}, "all")):
        model = FAMILY.settle(described, names).model
        assert (model.tie, model.head.scale) == (tie, False)


def test_the_first_release_is_tied_whatever_its_file_holds() -> None:
    described = FAMILY.describe(SHAPE, "T5ForConditionalGeneration")
    assert FAMILY.settle(described, {"shared.weight", "lm_head.weight"}) == described


@pytest.mark.parametrize("scaled", [False, True])
def test_one_made_anew_goes_there_and_back(scaled: bool, tmp_path: Path) -> None:
    """What ``save_pretrained`` writes, with and without "tie_word_embeddings" false, through our files, gives its logits."""
    config = T5.T5Config(**SHAPE, tie_word_embeddings=scaled, decoder_start_token_id=0)
    theirs = randomised(T5.T5ForConditionalGeneration(config)).float()
    theirs.save_pretrained(tmp_path / "theirs")
    model = import_model(tmp_path / "theirs", tmp_path / "ours").model
    assert (model.tie, model.head.scale) == ("all", scaled)
    assert export_model(tmp_path / "ours", tmp_path / "back") == "T5ForConditionalGeneration"
    back = T5.T5ForConditionalGeneration.from_pretrained(tmp_path / "back")
    source, target = source_ids(37), target_ids(37)
    ours = pellucid.load(tmp_path / "ours")
    with torch.no_grad():
        expected = whole(theirs, source, target)
        assert torch.equal(whole(back, source, target), expected)
        torch.testing.assert_close(ours.logits(source, target_ids=target), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "setting",
    [{"feed_forward_proj": "gated-mish"}, {"dense_act_fn": "gelu"}, {"is_gated_act": True}, {"is_encoder_decoder": False}],
)
def test_what_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="T5 model has"):
        FAMILY.describe(SHAPE | setting, "T5ForConditionalGeneration")


def test_names_of_old_files() -> None:
    """Tied matrices under any of their names, and a table that is not read."""
    theirs = theirs_for("t5")
    _, described = same_model(theirs, FAMILY)
    pieces = FAMILY.pieces(described.model, "T5WithLMHeadModel")
    weights = {name: weight for name, weight in theirs.state_dict().items() if name != "shared.weight"}
    weights["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.zeros(32, 3)
    found = relevant(FAMILY, pieces, weights, torch.equal)
    assert found.keys() == {name for piece in pieces for name in piece.theirs}
    assert torch.equal(found["shared.weight"], weights["lm_head.weight"])


def test_tied_matrices_that_differ_are_refused() -> None:
    theirs = theirs_for("t5")
    _, described = same_model(theirs, FAMILY)
    weights = dict(theirs.state_dict()) | {"decoder.embed_tokens.weight": torch.ones(37, 12, dtype=torch.float64)}
    with pytest.raises(ModelError, match=r"decoder\.embed_tokens\.weight[\s\S]*those of shared\.weight"):
        relevant(FAMILY, FAMILY.pieces(described.model, "T5ForConditionalGeneration"), weights, torch.equal)
