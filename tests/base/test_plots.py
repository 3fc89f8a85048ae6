"""Pictures."""

from pathlib import Path

import numpy as np

from pellucid.base.plots import plot_attention


def test_a_dollar_in_a_token_is_text(tmp_path: Path) -> None:
    plot_attention(np.array([[0.25, 0.75]]), ["$$", "a$b$"], ["$x"], "$", tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
