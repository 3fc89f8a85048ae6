"""Vectors of a vocabulary: neighbours and angles as by hand and by brute force, planes as of the whole decomposition."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pellucid.base.config import ModelConfig
from pellucid.base.errors import UsageError
from pellucid.explain.embeddings import METRICS, Metric, Table, between, excerpt, neighbours, plane, tables_of, tokens_of
from pellucid.explain.forward import trace_forward
from tests.explain.small import DECODER, ENCODER, ENCODER_DECODER, PICTURES, S, V, ids, inputs, make, name

FIVE = np.array([[3.0, 4.0], [6.0, 8.0], [4.0, 3.0], [0.0, 0.0], [-4.0, 3.0]])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("cosine", [(1, 1.0), (2, 0.96), (4, 0.0), (3, math.nan)]),
        ("dot", [(1, 50.0), (2, 24.0), (3, 0.0), (4, 0.0)]),
        ("euclidean", [(2, math.sqrt(2.0)), (1, 5.0), (3, 5.0), (4, math.sqrt(50.0))]),
    ],
)
def test_neighbours_by_hand(metric: Metric, expected: list[tuple[int, float]]) -> None:
    found = neighbours(FIVE, 0, metric=metric)
    assert [one.token for one in found] == [token for token, _ in expected]
    np.testing.assert_allclose([one.value for one in found], [value for _, value in expected], rtol=1e-15)


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_those_of_brute_force(metric: Metric) -> None:
    vectors = np.random.default_rng(3).normal(size=(4099, 5)).astype(np.float32)  # more than one piece
    wide, token = vectors.astype(np.float64), 4097
    values = {
        "cosine": [float(row @ wide[token] / np.linalg.norm(row) / np.linalg.norm(wide[token])) for row in wide],
        "dot": [float(row @ wide[token]) for row in wide],
        "euclidean": [float(np.linalg.norm(row - wide[token])) for row in wide],
    }[metric]
    order = sorted(
        (row for row in range(len(wide)) if row != token), key=lambda row: values[row], reverse=metric != "euclidean"
    )
    found = neighbours(vectors, token, metric=metric, count=7)
    assert [one.token for one in found] == order[:7]
    np.testing.assert_allclose([one.value for one in found], [values[row] for row in order[:7]], rtol=1e-12)


def test_the_token_itself_is_no_neighbour_and_there_are_no_more_than_all() -> None:
    assert sorted(one.token for one in neighbours(FIVE, 2, count=99)) == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("token", "metric", "words"), [(5, "dot", "0 to 4"), (-1, "dot", "0 to 4"), (1, "angle", "cosine, dot, euclidean")]
)
def test_what_is_not_there_is_refused(token: int, metric: Metric, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        neighbours(FIVE, token, metric=metric)


def test_between_two_vectors_by_hand() -> None:
    found = between(np.array([3.0, 4.0]), np.array([-4.0, 3.0]))
    assert (found.dot, found.norms, found.cosine, found.degrees) == (0.0, (5.0, 5.0), 0.0, 90.0)
    assert found.distance == pytest.approx(math.sqrt(50.0), rel=1e-15)
    slanted = between(np.array([2.0, 0.0]), np.array([1.0, math.sqrt(3.0)]))
    assert (slanted.cosine, slanted.degrees) == pytest.approx((0.5, 60.0), rel=1e-15)
    assert between(FIVE[0], FIVE[0]).degrees == pytest.approx(0.0, abs=1e-6)
    nowhere = between(FIVE[0], FIVE[3])
    assert math.isnan(nowhere.cosine)
    assert math.isnan(nowhere.degrees)
    assert nowhere.distance == 5.0


@pytest.mark.parametrize(("rows", "width"), [(4100, 6), (5, 9), (2, 4)])
def test_a_plane_is_that_of_the_whole_decomposition(rows: int, width: int) -> None:
    generator = np.random.default_rng(4)
    vectors = generator.normal(size=(rows, width)) @ np.diag(np.linspace(3.0, 1.0, width)) + np.arange(width)
    found = plane(vectors)
    centred = vectors - vectors.mean(0)
    left, singular, axes = np.linalg.svd(centred, full_matrices=False)
    count = min(3, rows - 1)  # so many directions there are
    shares = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(found.explained[:count], shares[:count], rtol=1e-10)
    np.testing.assert_allclose(np.abs((found.axes[:count] * axes[:count]).sum(1)), 1.0, rtol=1e-10)
    np.testing.assert_allclose(np.abs(found.coordinates[:, :count]), np.abs(left * singular)[:, :count], atol=1e-10)
    np.testing.assert_allclose(found.coordinates, centred @ found.axes.T, atol=1e-10)
    assert found.coordinates.shape == (rows, 3)
    np.testing.assert_allclose(found.coordinates[:, count:], 0.0, atol=1e-10)


def test_a_plane_by_hand_and_its_signs() -> None:
    cross = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]) + 7.0
    found = plane(cross)
    np.testing.assert_allclose(found.explained, [0.9, 0.1, 0.0], rtol=1e-14)
    np.testing.assert_allclose(found.coordinates, [[3, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]], atol=1e-14)
    np.testing.assert_allclose(plane(np.ones((4, 2))).explained, 0.0)


def test_a_model_has_its_tables_by_name() -> None:
    trace = trace_forward(make(ENCODER_DECODER), ENCODER_DECODER, inputs(ENCODER_DECODER), vocabulary=name(range(V)))
    (shared,) = tables_of(trace).values()
    assert (shared.roles, shared.names) == (("source", "target", "output"), tuple(name(range(V))))
    np.testing.assert_array_equal(shared.vectors, trace.model.weight("output").detach().numpy())
    assert tokens_of(trace, shared) == list(range(V))  # there are not many
    apart = replace(ENCODER_DECODER, tie="none", source_vocabulary=90)
    trace = trace_forward(make(apart), apart, inputs(apart), vocabulary=name(range(V)))
    source, target, output = tables_of(trace).values()
    assert [table.roles for table in (source, target, output)] == [("source",), ("target",), ("output",)]
    assert source.names[:3] == ("0", "1", "2")  # nothing says what they are called
    trace.source_name = name
    assert tables_of(trace)["source"].names[:3] == ("t0", "t1", "t2")
    assert tokens_of(trace, source) == list(dict.fromkeys(ids(S, 2)[0].tolist()))
    assert [tuple(table.roles) for table in _tables(DECODER)] == [("target", "output")]
    assert [tuple(table.roles) for table in _tables(replace(ENCODER, target_vocabulary=5))] == [("source",), ("output",)]
    assert [tuple(table.roles) for table in _tables(PICTURES)] == [("output",)]
    trace.model = None
    assert tables_of(trace) == {}


def _tables(config: ModelConfig) -> list[Table]:
    return list(tables_of(trace_forward(make(config), config, inputs(config))).values())


def test_a_file_keeps_the_tokens_of_the_trace_and_their_neighbours() -> None:
    apart = replace(ENCODER, source_vocabulary=90)
    trace = trace_forward(make(apart), apart, inputs(apart))
    trace.source_name = name
    table = tables_of(trace)["source"]
    kept = excerpt(trace, table)
    tokens = tokens_of(trace, table)
    assert kept["known"][: len(tokens)] == tokens
    assert kept["names"] == name(kept["known"])
    for metric in METRICS:
        assert list(kept["neighbours"][metric]) == list(map(str, tokens))
        for token in tokens:
            pairs = [[one.token, one.value] for one in neighbours(table.vectors, token, metric=metric)]
            assert kept["neighbours"][metric][str(token)] == pairs
            assert {row for row, _ in pairs} <= set(kept["known"])
    assert len(json.dumps(kept, allow_nan=False)) < 60_000


def test_no_cosine_of_a_vector_of_zeros_is_no_number_in_json() -> None:
    trace = trace_forward(make(DECODER), DECODER, inputs(DECODER), vocabulary=name(range(V)))
    trace.model.weight("output").data[0] = 0.0
    (table,) = tables_of(trace).values()
    assert excerpt(trace, table)["neighbours"]["cosine"]["0"][0] == [1, None]
