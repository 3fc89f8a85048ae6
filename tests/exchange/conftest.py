"""Assertions of the modules that the tests share say what they found, as those of a test do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("parity", "encoders", "encoder_decoders")
