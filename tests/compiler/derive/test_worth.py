"""One pass where it saves something, one reduction after the other where it does not."""

from __future__ import annotations

import pytest

from compiler.derive.programs import (
    Shapes,
    causal,
    cross_entropy,
    graph,
    layer_norm,
    rms_norm,
    soft,
    variance,
)
from maquette.compiler.derive import derive, worthwhile


@pytest.mark.parametrize(
    ("program", "fits", "does_not"),
    [
        (causal, True, True),
        (soft, False, True),
        (cross_entropy, False, True),
        (variance, False, False),
        (layer_norm, False, False),
        (rms_norm, False, False),
    ],
)
def test_by_whether_a_row_fits(program, fits, does_not):
    of = graph(program, Shapes(t=1000))
    for cache, taken in ((4000, fits), (3996, does_not)):
        found = derive(of, choose=worthwhile(cache))
        assert bool(found.derivations) == taken
        assert {r.condition for r in found.refusals} == (set() if taken else {"choice"})
        assert taken or found.graph.outputs == of.outputs
