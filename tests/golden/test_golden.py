"""Models that earlier versions wrote: they load, and say what they said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pellucid.base.config import FORMAT_VERSION
from tests.golden.make import logits

HERE = Path(__file__).parent
KEPT = sorted(HERE.glob("format-*/*.safetensors"))


@pytest.mark.parametrize("expected", KEPT, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_model_of_before_has_the_same_logits(expected: Path) -> None:
    kept = load_file(expected)["logits"]
    assert kept.std() > 0.1
    torch.testing.assert_close(logits(expected.with_suffix("")), kept, rtol=1e-5, atol=1e-5)


def test_every_format_is_kept() -> None:
    versions = {path.parent.name for path in KEPT}
    assert versions == {f"format-{version}" for version in range(1, FORMAT_VERSION + 1)}
