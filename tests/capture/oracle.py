"""Captured Graphs against the function they were captured from."""

from __future__ import annotations

import numpy as np
import torch

from maquette.capture import Captured, capture, leaves
from maquette.ir import evaluate, verify


def numbers(x):
    """A torch tensor or an array as an array."""
    if not isinstance(x, torch.Tensor):
        return np.asarray(x)
    x = x.detach()
    return x.float().numpy() if x.dtype in (torch.bfloat16, torch.float16) else x.numpy()


def run(captured: Captured, *tensors, **kwargs):
    """What a captured graph gives, nested as the callable gives it."""
    flat = [x for _, x in leaves([tensors, kwargs]) if isinstance(x, torch.Tensor | np.ndarray)]
    assert len(flat) == len(captured.arguments)
    given = dict(zip(captured.arguments, map(numbers, flat), strict=True))
    given |= {n: numbers(c) for n, c in captured.constants.items()}
    inputs = {n: a for n, a in given.items() if n in captured.graph.inputs}
    results = evaluate(captured.graph, inputs)
    return captured.rebuild([results[n] for n in captured.outputs])


def same(function, *tensors, how="record", rtol=1e-5, atol=1e-5, **kwargs) -> Captured:
    """Capture, verify, evaluate, and compare with the function itself."""
    captured = capture(function, *tensors, how=how, **kwargs)
    assert verify(captured.graph) == ()
    with torch.no_grad():
        expected = function(*tensors, **kwargs)
    found = run(captured, *tensors, **kwargs)
    pairs = list(zip(leaves([found]), leaves([expected]), strict=True))
    for (_, mine), (_, theirs) in pairs:
        if not isinstance(theirs, torch.Tensor | np.ndarray):
            assert mine == theirs
            continue
        theirs = numbers(theirs)
        assert np.shape(mine) == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=atol)
    return captured
