"""Scans: a chunk's products in closed form, chains of few heads, turns of fused kernels, states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.machines import machine
from maquette.price.calibration import NAMES, first_principles
from maquette.price.scans import (
    DELTA,
    FUSED,
    IN_PLACE,
    LINEAR,
    SHARED,
    Shape,
    chunked,
    recurrent,
)
from maquette.price.seconds import IDEAL
from maquette.price.states import states
from price.priced import lowered

H200 = machine("h200")
CAL = first_principles("h200", "any")
PEAK, VECTOR, STREAM, UNITS = 989e12, 67e12, 4.8e12, 132
RATE, PACE = PEAK * CAL["matrix"], VECTOR * CAL["vector"]
HEADS, KEYS, VALUES, CHUNK = 64, 128, 128, 64


def delta(tokens, longest=0.0, heads=HEADS, fused=False, cal=CAL, rule=DELTA, nbytes=0.0):
    shape = Shape(heads, KEYS, VALUES, CHUNK, rule)
    return chunked(H200, cal, PEAK, shape, tokens, nbytes, longest, fused)


def test_gated_delta_rule_in_closed_form():
    """Of a position and head: the lower half of a chunk's products, the state in, out and on."""
    flops = CHUNK * (3 * KEYS + 2 * VALUES) + 2 * 3 * KEYS * VALUES
    passed = DELTA.passes * (2 * CHUNK + KEYS + VALUES + KEYS * VALUES / CHUNK)
    found = delta(8192)
    assert float(found.matrix) == pytest.approx(8192 * HEADS * (flops / RATE + passed / PACE))
    states_moved = 8 * 8192 * HEADS * KEYS * VALUES / CHUNK
    assert float(found.memory) == pytest.approx(states_moved / (STREAM * CAL["memory"]))


def test_few_heads_wait_for_their_chain():
    """Each chunk of the longest prompt on the units that one head is cut over."""
    one = float(delta(32768, 32768, heads=1).matrix - delta(32768, 0, heads=1).matrix)
    two = float(delta(65536, 65536, heads=1).matrix - delta(65536, 0, heads=1).matrix)
    assert two == pytest.approx(2 * one)
    along = 4 * KEYS * VALUES / RATE + DELTA.passes * KEYS * VALUES / CHUNK / PACE
    assert one == pytest.approx(32768 * along * (UNITS / SHARED - 1))
    full = delta(32768, 4096, heads=HEADS), delta(32768, 0, heads=HEADS)
    assert float(full[0].matrix) == float(full[1].matrix)  # eight prompts of 64 heads do not wait


def test_one_fused_kernel_works_in_turns():
    """A unit for each head of a prompt: 132 of them take as long as one, one more twice that."""
    took = [float(delta(n * 1024, 1024, heads=1, fused=True).matrix) for n in (1, 132, 133)]
    assert took[0] == pytest.approx(took[1]) and took[2] == pytest.approx(2 * took[1])
    flops = CHUNK * (3 * KEYS + 2 * VALUES) + 6 * KEYS * VALUES
    passed = FUSED * (2 * CHUNK + KEYS + VALUES + KEYS * VALUES / CHUNK)
    assert took[0] == pytest.approx(1024 * UNITS * (flops / RATE + passed / PACE))


def test_decoding_reads_and_writes_states():
    state = 2 * 2 * 1024 * 8 * 128 * 128.0
    took = float(recurrent(H200, CAL, state))
    assert took == pytest.approx(state / (STREAM * CAL["memory"] * IN_PLACE))
    assert float(recurrent(H200, IDEAL, state)) == pytest.approx(state / STREAM)


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 200_000),
    share=st.floats(0.01, 1),
    heads=st.integers(1, 256),
    rule=st.sampled_from([LINEAR, DELTA]),
    fused=st.booleans(),
    logs=st.lists(st.floats(-2, 2), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_no_scan_beats_the_speed_of_light_and_none_gets_quicker_with_positions(
    tokens, share, heads, rule, fused, logs
):
    cal = CAL.at(CAL.vector + np.array(logs))
    longest = tokens * share
    ours = delta(tokens, longest, heads, fused, cal, rule, nbytes=tokens * 100.0)
    light = delta(tokens, longest, heads, fused, IDEAL, rule, nbytes=tokens * 100.0)
    assert ours.matrix >= light.matrix * (1 - 1e-12) and ours.memory >= light.memory * (1 - 1e-12)
    more = delta(tokens + 1, longest, heads, fused, cal, rule, nbytes=tokens * 100.0)
    assert more.matrix >= ours.matrix * (1 - 1e-12) and more.memory >= ours.memory * (1 - 1e-12)


def test_steps_know_the_states_of_a_model():
    """Bamba: 128 heads of 64 values, a state of 128; two devices have half of the heads."""
    (scan,) = (s for s in lowered("bamba-9b").sections if s.kind == "scan")
    shape = states(scan).shape({"tp": 2.0, "ab": 2.0, "tokens": 7.0})
    assert (shape.heads, shape.keys, shape.values) == (64, 128, 64)
    assert states(replace(scan, stages=())) is None
