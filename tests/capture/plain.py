"""Captured functions of NumPy arrays against the functions themselves."""

from __future__ import annotations

import numpy as np

from maquette.capture import Captured, capture, leaves
from maquette.ir import evaluate, verify


def same(function, *arrays, rtol=1e-5, atol=1e-5, **kwargs) -> Captured:
    """Capture, verify, evaluate, and compare with the function itself."""
    captured = capture(function, *arrays, **kwargs)
    assert verify(captured.graph) == ()
    flat = [x for _, x in leaves([arrays, kwargs]) if isinstance(x, np.ndarray)]
    given = dict(zip(captured.arguments, flat, strict=True)) | dict(captured.constants)
    inputs = {n: a for n, a in given.items() if n in captured.graph.inputs}
    results = evaluate(captured.graph, inputs)
    found = captured.rebuild([results[n] for n in captured.outputs])
    expected = function(*(np.copy(a) for a in arrays), **kwargs)
    for (_, mine), (_, theirs) in zip(leaves([found]), leaves([expected]), strict=True):
        assert np.shape(mine) == np.shape(theirs)
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=atol)
    return captured
