"""Layers of the model families through the whole pipeline mean what the interpreter says."""

from __future__ import annotations

import numpy as np
import pytest

import maquette as mq
from maquette.errors import InputError
from maquette.ir import evaluate
from maquette.ir.axes import full
from maquette.ir.build import activation
from maquette.ir.graph import Graph
from maquette.models.decoder import program
from maquette.models.huggingface import from_huggingface
from maquette.run.toolchain import toolchain
from models.tiny import CONFIGS

SIZES = {"b": 2, "s": 3, "t": 7}


def tensors(graph, rng):
    """Random inputs in single precision, with every context as long as the longest."""
    symbols = {s for v in graph.values for a in v.axes for s in full(a).symbols | a.size.symbols}
    sizes = {s: SIZES.get(s, 1 if "/" in s else SIZES["t"]) for s in symbols | SIZES.keys()}
    found = {}
    for name, value in graph.inputs.items():
        shape = [int(full(a)(sizes)) for a in value.axes]
        whole = value.dtype.kind == "int"
        numbers = rng.integers(0, 3, shape) if whole else rng.normal(size=shape)
        found[name] = numbers.astype(np.int64 if whole else np.float32)
    return found, sizes


@pytest.mark.skipif(toolchain() is None, reason="no C++ compiler")
@pytest.mark.parametrize("name", ["llama", "mistral", "mixtral", "mamba2"])
def test_family(name):
    made = program(from_huggingface(CONFIGS[name], name))
    rng = np.random.default_rng(0)
    for part, graph in made.parts.items():
        given, sizes = tensors(graph, rng)
        compiled = mq.compile(graph)
        found = compiled(**given, t=sizes["t"])
        expected = evaluate(graph, given, sizes, precise=True)
        assert found.keys() == expected.keys()
        for key, y in expected.items():
            error = np.abs(found[key] - y).max() / np.abs(y).max()
            assert error < 1e-5, (part, key, error)
        for line in compiled.report:  # only what depends on numbers
            assert not line.startswith("interpreted") or "depends on the data" in line


def test_shapes_that_disagree_are_told_at_once():
    x, y = activation("x", n="n", d="d"), activation("y", d="d")
    graph = mq.compile(Graph("sum", {"z": (x * y).sum("d").value}))
    with pytest.raises(InputError, match="has 4 of d"):
        graph(x=np.ones((2, 3), np.float32), y=np.ones(4, np.float32))
    with pytest.raises(InputError, match="y: is not given"):
        graph(x=np.ones((2, 3), np.float32))
    with pytest.raises(InputError, match="keywords"):
        graph(np.ones((2, 3), np.float32))
    given = {"x": np.ones((2, 3), np.float32), "y": np.ones(3, np.float32)}
    np.testing.assert_allclose(graph(**given)["z"], [3, 3])
