"""Functions of NumPy arrays, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from capture.plain import same
from maquette.capture import capture
from maquette.errors import MaquetteError
from maquette.ir import show

R = np.random.default_rng(0)


def floats(*shape):
    return R.standard_normal(shape).astype(np.float32)


def attention(q, k, v):
    s = q.shape[-2]
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(np.float32(q.shape[-1]))
    scores = np.where(np.tril(np.ones((s, s))) == 0, -np.inf, scores)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True)) @ v


def attention_of_coordinates(q, k, v):
    at = np.arange(q.shape[-2])
    scores = np.einsum("hsd,htd->hst", q, k) * np.float32(q.shape[-1] ** -0.5)
    scores = np.where(at[:, None] >= at[None, :], scores, -np.inf)
    e = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return np.einsum("hst,htd->hsd", e, v) / np.sum(e, axis=-1)[..., None]


def layer_norm(x, w, b):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5) * w + b


def updates(x):
    y = x * 2
    y[:, 1:3] = 0
    y[0] += 1
    y *= 3
    return y


CASES = {
    "causal attention": (attention, floats(2, 5, 4), floats(2, 5, 4), floats(2, 5, 3)),
    "attention of coordinates": (
        attention_of_coordinates,
        floats(2, 5, 4),
        floats(2, 5, 4),
        floats(2, 5, 4),
    ),
    "layer norm": (layer_norm, floats(3, 8), floats(8), floats(8)),
    "updates of what is one's own": (updates, floats(2, 4)),
    "matrix times its transpose": (lambda x: x @ x.T, floats(3, 4)),
    "reshape, transpose": (
        lambda x: x.reshape(2, 3, 4).transpose(1, 0, 2).reshape(3, -1),
        floats(6, 4),
    ),
    "concatenate, stack": (
        lambda x, y: np.stack([np.concatenate([x, y], 1), np.concatenate([y, x], axis=1)], -1),
        floats(2, 3),
        floats(2, 4),
    ),
    "slices": (lambda x: x[1:, ::-2, None, ..., -1], floats(3, 6, 2)),
    "lookups": (lambda x, i: x[i, 1:], floats(5, 4), np.array([[0, -1], [2, 2]])),
    "take_along_axis": (lambda x: np.take_along_axis(x, np.argsort(x, axis=1), 1), floats(3, 5)),
    "cumulative": (lambda x: np.cumsum(x, axis=0) + np.add.accumulate(x, axis=1), floats(3, 4)),
    "spread": (
        lambda x: np.std(x, axis=1, ddof=1) + x.var(axis=1) + x.max(1) - np.min(x, 1),
        floats(3, 4),
    ),
    "booleans": (
        lambda x: np.where((x > 0) & ~(x > 1) | np.isnan(x), np.maximum(x, 0.5), 0),
        floats(9),
    ),
    "pad, clip, flip, roll": (
        lambda x: np.roll(
            np.flip(np.pad(np.clip(x, -1, 1), ((1, 2), (0, 1)), constant_values=3), 0), 1, 1
        ),
        floats(3, 4),
    ),
    "broadcast, repeat, tile": (
        lambda x: np.repeat(np.broadcast_to(x[None], (2, 3)), 2, axis=1) + np.tile(x[None], (2, 2)),
        floats(3),
    ),
    "outer, dot": (
        lambda x, y: np.outer(x, y) + np.add.outer(x, y) + np.dot(x, x),
        floats(3),
        floats(4),
    ),
    "literals": (
        lambda x: x @ np.array([[1, 2], [3, 4], [5, 7]], np.float32) + np.eye(3, 2)[:1],
        floats(2, 3),
    ),
    "band": (lambda x: x * np.triu(np.tril(np.ones((5, 5)), 1), -1), floats(5, 5)),
    "to other formats": (
        lambda x: (x > 0).astype(np.float32) + (x * 3).astype(np.int32),
        floats(7),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_means_what_numpy_computes(name):
    function, *arrays = CASES[name]
    same(function, *arrays)


def test_masks_are_comparisons_and_no_constants():
    for function in (attention, attention_of_coordinates):
        captured = capture(function, *(floats(2, 64, 4) for _ in range(3)))
        assert not captured.constants
        assert any(f"where({test}," in show(captured.graph) for test in ("t > s", "t <= s"))


def test_results_are_nested_as_the_function_nests_them():
    found = same(lambda x, scale: {"a": x * scale, "b": (x, 3)}, floats(2), scale=2.0)
    assert found.arguments == ("x",)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x[x > 0], "the shape of a selection by a mask depends on the data"),
        (lambda x: np.nonzero(x), "nonzero: the shape of its result depends on the data"),
        (lambda x: x if x.sum() > 0 else -x, "bool: Python asks for a number"),
        (lambda x: x * float(x[0]), "float: Python asks for a number"),
        (lambda x: np.linalg.svd(x), "svd: no lowering"),
        (lambda x: np.asarray(x), "turning it into numbers"),
        (lambda x: np.cbrt(x), "cbrt: no lowering"),
    ],
)
def test_what_cannot_be_captured_names_the_operator_and_the_line(function, said):
    with pytest.raises(MaquetteError) as caught:
        capture(function, floats(3, 3))
    (fault,) = caught.value.faults
    assert said in fault.what
    path, _, line = fault.where.rpartition(":")
    assert path == __file__
    assert int(line) == function.__code__.co_firstlineno


def test_doubles_are_refused():
    with pytest.raises(MaquetteError, match="argument x: format float64"):
        capture(lambda x: x, np.ones(3))


def test_arguments_and_views_are_not_changed_in_place():
    def changes_argument(x):
        x += 1
        return x

    def changes_view(x):
        y = x * 2
        z = y.T
        y += 1
        return z

    for function in (changes_argument, changes_view):
        with pytest.raises(MaquetteError, match="work on a copy"):
            capture(function, floats(2, 2))
