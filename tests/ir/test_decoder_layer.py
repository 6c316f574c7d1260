"""The decoder layer of examples/01_language.py against plain NumPy written from its definition."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

import numpy as np
import pytest

from maquette.ir import evaluate, parameters, parse, run, show, state_size, verify
from maquette.ir.graph import Program

D, G, R, K, F = 64, 2, 3, 8, 96


@pytest.fixture(scope="module")
def example():
    path = Path(__file__).parents[2] / "examples" / "01_language.py"
    return runpy.run_path(str(path), run_name="example")


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(3)
    shapes = {
        "attention_norm": (D,), "wq": (D, G, R, K), "wk": (D, G, K), "wv": (D, G, K),
        "wo": (G, R, K, D), "mlp_norm": (D,), "w_gate": (D, F), "w_up": (D, F), "w_down": (F, D),
    }  # fmt: skip
    return {name: rng.normal(size=shape) / 6 for name, shape in shapes.items()}


def norm(x, scale):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5) * scale


def turn(x, position):
    """Feature pairs (i, i + K/2) as complex numbers, turned."""
    angle = position * 10000.0 ** (-np.arange(K // 2) / (K // 2))
    z = (x[..., : K // 2] + 1j * x[..., K // 2 :]) * np.exp(1j * angle)
    return np.concatenate([z.real, z.imag], axis=-1)


def plain(x, w):
    """A whole sequence [s, d], token by token, head by head."""
    s = len(x)
    h = norm(x, w["attention_norm"])
    out = x.copy()
    for i in range(s):
        for g in range(G):
            keys = np.array([turn(h[j] @ w["wk"][:, g], j) for j in range(i + 1)])
            values = h[: i + 1] @ w["wv"][:, g]
            for r in range(R):
                scores = keys @ turn(h[i] @ w["wq"][:, g, r], i) / np.sqrt(K)
                p = np.exp(scores - scores.max())
                out[i] += (p / p.sum()) @ values @ w["wo"][g, r]
    h = norm(out, w["mlp_norm"])
    gate = h @ w["w_gate"]
    return out + (gate / (1 + np.exp(-gate)) * (h @ w["w_up"])) @ w["w_down"]


def test_it_is_short(example):
    lines = sum(
        len(inspect.getsource(example[n]).splitlines()) for n in ("norm", "rotate", "layer")
    )
    assert lines <= 60


def test_it_is_sound_and_reads_back(example):
    graph = example["layer"]()
    assert verify(graph, {"b", "s", "t"}) == ()
    assert parse(show(graph)).outputs == graph.outputs


def test_prefill_equals_plain_numpy(example, weights):
    x = np.random.default_rng(4).normal(size=(2, 6, D))
    none = np.zeros((2, 0, G, K))
    found = evaluate(
        example["layer"](), {**weights, "x": x, "keys": none, "values": none}, precise=True
    )
    expected = np.stack([plain(sequence, weights) for sequence in x])
    np.testing.assert_allclose(found["x"], expected, rtol=1e-10)


@pytest.mark.parametrize("pieces", [(1, 1, 1, 1, 1, 1), (4, 2), (5, 1), (2, 2, 2)])
def test_two_layers_in_pieces_equal_two_layers_of_plain_numpy(example, weights, pieces):
    graph = example["layer"]()
    model = Program("two", {"layer": graph}, ("layer", "layer"), shared=frozenset({"wo"}))
    rng = np.random.default_rng(5)
    second = {n: w if n == "wo" else w + rng.normal(size=w.shape) / 9 for n, w in weights.items()}
    held = {"wo": weights["wo"]}
    for i, layer in enumerate([weights, second]):
        held |= {f"{i}.{n}": w for n, w in layer.items() if n != "wo"}
    states = {f"{i}.{n}": np.zeros((2, 0, G, K)) for i in (0, 1) for n in ("keys", "values")}
    x = rng.normal(size=(2, 6, D))
    found = []
    for piece in np.split(x, np.cumsum(pieces)[:-1], axis=1):
        out, states = run(model, {"x": piece}, held, states, precise=True)
        found.append(out["x"])
    expected = np.stack([plain(plain(sequence, weights), second) for sequence in x])
    np.testing.assert_allclose(np.hstack(found), expected, rtol=1e-10)
    assert states["1.keys"].shape == (2, 6, G, K)


def test_single_precision_is_close(example, weights):
    x = np.random.default_rng(4).normal(size=(1, 6, D))
    inputs = {**weights, "x": x, "keys": np.zeros((1, 0, G, K)), "values": np.zeros((1, 0, G, K))}
    found = evaluate(example["layer"](), inputs)["x"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], plain(x[0], weights), rtol=2e-4, atol=1e-5)


def test_counts(example):
    graph = example["layer"]()
    model = Program("three", {"layer": graph}, ("layer",) * 3, shared=frozenset({"wo"}))
    wo = G * R * K * D
    each = D * G * R * K + 2 * D * G * K + 2 * D + 3 * D * F
    assert parameters(model).constant == 3 * each + wo
    assert str(state_size(model)) == f"{6 * G * K}*b*t - {6 * G * K}*b*s"
