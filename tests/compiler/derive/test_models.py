"""The model families: attention of every one is one fold, and every part means what it meant."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.compiler.derive import derive
from maquette.ir import Scan, evaluate, parse, show, verify
from maquette.ir.axes import full
from maquette.models.decoder import program
from maquette.models.huggingface import from_huggingface
from models.tiny import CONFIGS

SIZES = {"b": 2, "s": 3, "t": 7}


def numbers(graph, rng):
    """Random inputs, with every symbol that is a context at the length of the longest."""
    symbols = {s for v in graph.values for a in v.axes for s in full(a).symbols | a.size.symbols}
    sizes = SIZES | {s: SIZES.get(s, SIZES["t"]) for s in symbols}
    sizes |= {s: 1 for s in symbols if "/" in s}
    found = {}
    for name, value in graph.inputs.items():
        shape = [int(full(a)(sizes)) for a in value.axes]
        whole = value.dtype.kind == "int" and value.role == "index"
        found[name] = rng.integers(0, 3, shape) if whole else rng.normal(size=shape)
    return found, sizes


@pytest.mark.parametrize("name", CONFIGS)
def test_family(name):
    made = program(from_huggingface(CONFIGS[name], name))
    rng = np.random.default_rng(0)
    for graph in made.parts.values():
        found = derive(graph)
        assert not found.refusals
        assert not verify(found.graph)
        assert dict(parse(show(found.graph)).outputs) == dict(found.graph.outputs)
        attends = any(a.name == "t" for v in graph.values for a in v.axes)
        folds = [str(d.monoid) for d in found.derivations]
        if attends and not any(isinstance(v, Scan) for v in graph.values):
            assert "max.add.add" in folds
        given, sizes = numbers(graph, rng)
        expected = evaluate(graph, given, sizes, precise=True)
        for key, y in evaluate(found.graph, given, sizes, precise=True).items():
            np.testing.assert_allclose(y, expected[key], rtol=1e-9, atol=1e-9)
