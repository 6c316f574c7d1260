"""Kernels and flows that make no sense are refused, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.fuse.programs import graph
from maquette.compiler.fuse import (
    check_flow,
    fuse,
    parse_flow,
    parse_kernel,
    show_kernel,
    verify_flow,
    verify_kernel,
)
from maquette.errors import InputError, ProgramError

SOUND = """
kernel rows
  extent n=2, t=3
  in x f32[n, t] strides 3, 1
  out y f32[n, t] strides 3, 1
  f32 m[n] = max over t: %x
  f32 y[n, t] = exp(%x - %m)
"""


def test_a_kernel_reads_back():
    kernel = parse_kernel(SOUND)
    assert show_kernel(kernel) == SOUND.strip()
    assert verify_kernel(kernel) == ()


WRONG = {
    "%x - %m": ("%x - %mm", "line 7, column 26: found '%mm'; expected a tensor or a result"),
    "max over": ("maxx over", "found 'maxx'; expected a monoid"),
    "strides 3, 1\n  out": ("strides 3\n  out", "'strides' and 2 numbers"),
    "in x f32[n, t]": ("in x f32[n, u]", "'=' and the extent of 'u'"),
    "f32 m": ("f33 m", "expected a number format"),
    "extent n=2": ("extent n", "expected '='"),
}


@pytest.mark.parametrize("good", WRONG)
def test_text_is_refused_with_its_place(good):
    bad, message = WRONG[good]
    with pytest.raises(InputError) as found:
        parse_kernel(SOUND.replace(good, bad))
    assert message in str(found.value)


SENSELESS = {
    "f32 m[n] = max over t: %x": ("f32 m[n] = max over n: %x", "axis that is combined away"),
    "exp(%x - %m)": ("exp(%x - %m) * u", "names axis 'u'"),
    "f32 y[n, t] =": ("f32 y[n] =", "reads x, whose axis 't' the stage lacks"),
    "out y f32[n, t]": ("out z f32[n, t]", "is the result of no stage"),
    "out y f32[n, t] strides 3, 1": ("out y f32[t, n] strides 1, 3", "has axes t, n"),
    "f32 m[n] = max over t: %x\n": (
        "f32 m[n] = max over t: %x\n  f32 m[n] = add over t: %x\n",
        "2 tensors or results are called 'm'",
    ),
}


@pytest.mark.parametrize("good", SENSELESS)
def test_a_senseless_kernel_is_told_why(good):
    bad, message = SENSELESS[good]
    kernel = parse_kernel(SOUND.replace(good, bad))
    assert any(message in str(f) for f in verify_kernel(kernel))


def test_a_flow_is_read_back_and_checked():
    flow = fuse(graph("gated"))
    assert check_flow(flow) is flow
    with pytest.raises(InputError, match="no flow line"):
        parse_flow(SOUND)
    with pytest.raises(InputError, match="found a flow"):
        parse_kernel("flow f")


def test_a_flow_that_reads_what_nobody_wrote_is_refused():
    flow = fuse(graph("gated"))
    backwards = replace(flow, kernels=flow.kernels[::-1])
    assert any("before it is written" in str(f) for f in verify_flow(backwards))
    with pytest.raises(ProgramError, match="never written"):
        check_flow(replace(flow, kernels=flow.kernels[:1]))
    small = replace(flow, arena=tuple(replace(b, bytes=8) for b in flow.arena))
    assert any("reaches to byte" in str(f) for f in verify_flow(small))
    assert any("no buffer" in str(f) for f in verify_flow(replace(flow, arena=())))
