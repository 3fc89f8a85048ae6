"""The norms that stand in for layer normalisation, and the ways a decoder reads its encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pellucid.compare.corpus import LONGEST, translator
from pellucid.compare.experiments import depths, norms
from pellucid.compare.experiments.norms import BATCH, NONE, POST, PRE, RMS, SIZES, BatchNorm, NoNorm, model_of
from pellucid.model.residual import LayerNorm, RMSNorm


def test_batch_norm_takes_each_number_over_all_positions() -> None:
    x = torch.tensor([[[1.0, 10.0], [3.0, 10.0]], [[5.0, 20.0], [7.0, 40.0]]])
    norm = BatchNorm(2, eps=1e-12)
    flat = x.view(4, 2)
    expected = (flat - flat.mean(0)) / flat.var(0, correction=0).sqrt()
    torch.testing.assert_close(norm(x), expected.view(2, 2, 2))


@pytest.mark.parametrize(
    ("kind", "norm", "count"),
    [(POST, LayerNorm, 4), (PRE, LayerNorm, 5), (RMS, RMSNorm, 5), (BATCH, BatchNorm, 5), (NONE, NoNorm, 5)],
)
def test_every_kind_has_its_norms_and_no_other(kind: str, norm: type[nn.Module], count: int) -> None:
    model = model_of(kind, SIZES["smallest"], 3)
    found = [type(each) for each in model.modules() if isinstance(each, (LayerNorm, RMSNorm, BatchNorm, NoNorm))]
    assert found == [norm] * count  # two sublayers in each of two layers, and one at the end where the norm comes before


def test_kinds_begin_with_the_same_weights() -> None:
    models = [dict(model_of(kind, SIZES["smallest"], 3).named_parameters()) for kind in (POST, PRE, RMS, BATCH, NONE)]
    shared = set.intersection(*map(set, models))
    assert shared == set(models[-1])
    assert all(torch.equal(models[0][name], each[name]) for name in shared for each in models[1:])


def test_what_the_decoder_reads() -> None:
    configs = depths.configurations(8)
    assert {name: config.decoder.reads for name, config in configs.items()} == {
        "last layer": None,
        "aligned layers": (0, 1, 2),
        "first layer": (0, 0, 0),
    }
    models = [translator(config, 2) for config in configs.values()]
    assert all(torch.equal(a, b) for each in models for a, b in zip(each.parameters(), models[0].parameters(), strict=True))
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 100, (2, 2 * (LONGEST + 2)), generator=generator)
    wanted = torch.arange(ids.shape[1]).expand_as(ids) >= LONGEST + 2
    found = [each.eval()(ids, wanted=wanted) for each in models]
    assert not any(torch.allclose(found[one], found[other]) for one, other in ((0, 1), (1, 2), (2, 0)))


@pytest.mark.parametrize(("loss", "counted"), [(2.0, 2.0), (float("nan"), 6.0), (float("inf"), 6.0), (7.0, 6.0)])
def test_what_does_not_train_counts_as_guessing(loss: float, counted: float) -> None:
    assert norms._finite(loss, 6.0) == counted
