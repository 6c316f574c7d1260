"""The arena: what is alive together is apart, and sharing bytes changes no result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.fuse.programs import PROGRAMS, graph, inputs, weight
from compiler.fuse.programs import given as activation
from maquette.compiler.fuse import Choices, evaluate_kernel, fuse, verify_flow
from maquette.compiler.fuse.arena import LINE, Life, placed
from maquette.ir.build import dot, exp, tanh
from maquette.ir.graph import Graph

lives = st.tuples(st.integers(0, 500), st.integers(0, 9), st.integers(0, 5)).map(
    lambda p: Life(p[0], p[1], p[1] + p[2])
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from("abcdefghij"), lives, max_size=8))
def test_what_is_alive_together_is_apart(held):
    offsets = placed(held)
    assert offsets.keys() == held.keys()
    for one, a in held.items():
        assert offsets[one] % LINE == 0
        for two, b in held.items():
            if one < two and a.first <= b.last and b.first <= a.last:
                first, second = sorted([(offsets[one], a.bytes), (offsets[two], b.bytes)])
                assert first[0] + first[1] <= second[0] or 0 in (a.bytes, b.bytes)


def chain(length):
    x = activation("x", n=8, d=16)
    for i in range(length):
        x = exp(dot(x, weight(f"w{i}", d=16, e=16), "d").rename(e="d") * 0.1)
    return Graph("chain", {"out": x.value})


def test_a_chain_needs_two_buffers_however_long():
    assert fuse(chain(12)).arena_bytes == 2 * 8 * 16 * 4


def in_one_arena(flow, given_):
    """Run a flow of f32 tensors on the very bytes of the arena."""
    arena = np.full(flow.arena_bytes // 4, np.nan, np.float32)
    buffers = {b.name: arena[b.offset // 4 : (b.offset + b.bytes) // 4] for b in flow.arena}
    for t in (*flow.inputs, *flow.outputs):
        buffers[t.buffer] = np.zeros(int(np.prod(t.shape)), np.float32)
    for t in flow.inputs:
        buffers[t.buffer][:] = given_[t.name].astype(np.float32).ravel()

    def window(t):
        flat = buffers[t.buffer][t.offset :]
        return np.lib.stride_tricks.as_strided(flat, t.shape, [s * 4 for s in t.strides])

    for kernel in flow.kernels:
        made = evaluate_kernel(kernel, {t.name: window(t) for t in kernel.inputs})
        for t in kernel.outputs:
            window(t)[...] = made[t.name]
    return {t.name: window(t) for t in flow.outputs}


@pytest.mark.parametrize("name", PROGRAMS)
def test_sharing_bytes_changes_no_result(name):
    program = graph(name)
    given_ = inputs(program)
    found = in_one_arena(fuse(program), given_)["out"]
    np.testing.assert_allclose(found, PROGRAMS[name][1](**given_), rtol=2e-4, atol=2e-4)


def test_a_map_writes_over_what_dies_in_it():
    made = dot(activation("x", n=8, d=16), weight("w", d=16, e=16), "d")
    alone = tanh(made)
    program = Graph("over", {"out": dot(alone, weight("u", e=16, f=4), "e").value})
    flow = fuse(program, choices=Choices(apart=frozenset({alone.value})))
    assert verify_flow(flow) == ()
    assert [b.offset for b in flow.arena] == [0, 0]
    given_ = inputs(program)
    expected = np.tanh(given_["x"] @ given_["w"]) @ given_["u"]
    found = in_one_arena(flow, given_)["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_overlap_is_found():
    flow = fuse(chain(4))
    broken = replace(flow, arena=tuple(replace(b, offset=0) for b in flow.arena))
    assert not verify_flow(flow)
    assert "overlap" in str(verify_flow(broken)[0])
