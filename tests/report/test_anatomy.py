"""The anatomy of a step agrees with what the simulation is charged, and with arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

import maquette as mq
from maquette.report.anatomy import anatomy
from maquette.report.curves import timeline_bins


@pytest.mark.parametrize(("on", "options"), [
    ("h100", {}), ("h100x4", {"tp": 4, "weights": "fp8"}), ("h100x2", {"tp": 1, "pp": 2}),
])  # fmt: skip
@pytest.mark.parametrize(("batch", "context"), [(1, 100), (32, 3000)])
def test_a_decode_step_is_what_the_clock_charges(on, options, batch, context):
    """Two ways to one number: section by section here, and by features in the step model."""
    held = mq.deployment("llama-3.1-8b", on, **options)
    found = anatomy(held, batch, context)
    step, lane = held.replica().step, -(-batch // held.plan.mesh.lanes)
    charged = step.overhead + step.tokens[lane] + step.seqs[lane]
    for a in step.attention:
        charged += max(a.at[:, lane] + a.slope[:, lane] * lane * context)
    assert found.decode.total == pytest.approx(charged, rel=1e-6)


def test_prefill_in_chunks_reads_the_cache_again():
    whole = mq.explain("llama-3.1-8b", on="h100", context=8000)
    cut = mq.explain("llama-3.1-8b", on="h100", context=8000, policy={"max_batched_tokens": 1024})
    assert (whole.prefill.steps, cut.prefill.steps) == (1, 8)
    assert cut.prefill.total > whole.prefill.total > whole.prefill.light
    assert sum(line.total for line in cut.prefill.lines) == pytest.approx(cut.prefill.total)


def test_shares_of_light_never_exceed_one():
    for model, on in (
        ("llama-3.1-70b", "h100x8"),
        ("mixtral-8x7b", "h100x2"),
        ("qwen3-8b", "l4x2"),
    ):
        found = mq.explain(model, on=on, batch=16, context=2048)
        for phase in (found.decode, found.prefill):
            assert phase.seconds.low <= phase.total <= phase.seconds.high
            for line in phase.lines:
                assert line.light <= line.total * (1 + 1e-12), (model, line.name)


def test_cost_of_decoding_is_the_price_of_the_time():
    found = mq.explain("llama-3.1-8b", on="h100", batch=64, context=1000)
    per_token = found.decode.total / 64
    usd = per_token * found.deployment.usd_per_hour / 3600 * 1e6
    assert found.usd_per_mtok_output == pytest.approx(usd)


def test_bins_keep_the_area_of_the_timeline():
    stream = mq.requests(input_tokens=500, output_tokens=50, rate=10, requests=80)
    trace = mq.simulate("llama-3.1-8b", on="h100x2", traffic=stream, draws=0).trace
    at, columns = timeline_bins(trace, bins=37)
    s = trace.segments
    width = (at[1] - at[0]) * 1e9
    area = float(((s.end_ns - s.start_ns) * s.running).sum())
    assert columns["running"].sum() * width == pytest.approx(area)
    assert np.all(columns["busy"] <= 1) and np.all(columns["kv"] >= -1e-9)
