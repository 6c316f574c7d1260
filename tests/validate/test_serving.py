"""Serving rows are run as they were measured."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.validate.static import prepare, seconds
from maquette.validate.validation import validate
from validate.synthetic import grid, truth

CLOSED = (
    "system,framework,version,model,tp_size,isl,osl,concurrency,num_gpus,ttft_ms,tpot_ms,split\n"
)
STAGES = (
    "hardware,model,tp,rate,num_requests,input_tokens_mean,output_tokens_mean,"
    "ttft_mean_s,itl_mean_s,e2e_mean_s,split\n"
)


@pytest.fixture
def certain(known):
    from dataclasses import replace

    return replace(known, calibration=lambda machine, engine: truth(machine, engine))


def quantities(found):
    return {g.key.quantity: g for g in found.groups}


def test_one_client_of_a_closed_loop_is_a_static_batch_of_one(certain, tmp_path):
    """… behind a server, which takes its time of every request."""
    took = seconds(
        prepare(grid(certain, "h100-sxm", "vllm", "llama-3-8b", [(1, 512, 64, 1)])), truth()
    )
    times = f"{(took.ttft[0] + truth()['request']) * 1e3},{took.tpot[0] * 1e3}"
    row = f"H100,vllm,0.15,llama-3-8b,1,512,64,1,1,{times},heldout\n"
    (tmp_path / "x.csv").write_text(CLOSED + row)
    found = quantities(validate(tmp_path, certain))
    assert found["ttft"].errors.ape_p50 < 1e-3 and found["tpot"].errors.ape_p50 < 1e-3


def test_replicas_share_the_clients(certain, tmp_path):
    line = "H100,vllm,0.15,llama-3-8b,1,512,64,{},{},10,10,heldout\n"
    apart = []
    for clients, devices in ((32, 4), (8, 1)):
        (tmp_path / "x.csv").write_text(CLOSED + line.format(clients, devices))
        (group,) = [g for g in validate(tmp_path, certain).groups if g.key.quantity == "tpot"]
        apart.append(group.errors.bias)
    assert apart[0] == pytest.approx(apart[1], abs=0.05)


def test_latency_grows_with_load_in_an_open_loop(certain, tmp_path):
    line = "A100-80GB,llama-3-8b,1,{},400,1000,200,0.1,0.02,5,heldout\n"
    text = STAGES + "".join(line.format(rate) for rate in (0.2, 3, 9))
    (tmp_path / "serving_vllm_stages_x.csv").write_text(text)
    from maquette.validate.cases import resolve
    from maquette.validate.rows import read
    from maquette.validate.serving import serving

    cases = resolve(read(tmp_path).tables[0], certain)
    ((subject, rows),) = cases.groups()
    cal = truth("a100-80gb", "vllm")
    held = dict(serving(cases, subject, rows, certain, cal))
    for quantity in ("ttft", "tpot", "e2e"):
        assert np.all(np.diff(held[quantity].predicted) > 0)
        one = held[quantity]
        assert np.all((one.low < one.predicted) & (one.predicted < one.high))
        assert np.all(held[quantity].ideal < held[quantity].predicted)


def test_requests_that_a_file_lists_are_sent_as_listed(certain, tmp_path):
    """Two far apart: each is a batch of one, whatever rate the stage claims."""
    shapes = [(1, 512, 64, 1), (1, 2000, 16, 1)]
    took = seconds(prepare(grid(certain, "h100-sxm", "vllm", "llama-3-8b", shapes)), truth())
    outside = truth()["request"]
    (tmp_path / "serving_vllm_requests.csv").write_text(
        "run,stage,arrival_s,input_tokens,output_tokens,ttft_s\nr,0,100,2000,16,1\n"
        "r,0,5,512,64,1\nr,1,0,9,9,1\n"
    )
    (tmp_path / "serving_vllm_stages.csv").write_text(
        "run,stage,hardware,model,tp,rate,ttft_mean_s,e2e_mean_s,split\n"
        "r,0,H100,llama-3-8b,1,50,"
        f"{took.ttft.mean() + outside},{took.e2e.mean() + outside},heldout\n"
    )
    found = quantities(validate(tmp_path, certain))
    assert found["ttft"].errors.ape_p50 < 1e-3 and found["e2e"].errors.ape_p50 < 1e-3


def test_a_limit_thins_and_says_so(certain, tmp_path):
    line = "H100,vllm,0.15,llama-3-8b,1,64,8,{},1,10,10,heldout\n"
    (tmp_path / "x.csv").write_text(CLOSED + "".join(line.format(c) for c in range(1, 11)))
    found = validate(tmp_path, certain, limit=4)
    assert found.priced["closed"] == 4
    assert found.unpriced["closed"] == {"not simulated: 4 rows of a file are": 6}


def test_rows_without_a_load_are_counted(certain, tmp_path):
    line = "H100,vllm,0.15,llama-3-8b,1,64,8,{},1,10,10,heldout\n"
    (tmp_path / "x.csv").write_text(CLOSED + line.format(0) + line.format(1))
    found = validate(tmp_path, certain)
    assert found.unpriced["closed"] == {"rate, concurrency or lengths are not positive numbers": 1}


def test_offline_throughput_tries_meshes_and_stays_below_its_bound(certain, tmp_path):
    text = "hardware,engine,model,precision,devices,scenario,tokens_per_s_per_accelerator,split\n"
    text += "h100-sxm,tensorrt-llm,llama-2-70b,fp8,8,offline,3000,heldout\n"
    (tmp_path / "mlperf_inference.csv").write_text(text)
    (group,) = validate(tmp_path, certain).groups
    assert group.key.quantity == "rate"
    assert group.errors.bias < group.ideal.bias  # the bound is faster


def test_what_is_predicted_has_the_means_of_the_row(certain, tmp_path):
    """A draw of requests misses them by chance, and a queue makes much of it."""
    from maquette.validate.cases import resolve
    from maquette.validate.rows import read
    from maquette.validate.sending import EVEN, STREAMS, sending

    line = "A100-80GB,llama-3-8b,1,4,400,1000,200,0.1,0.02,5,heldout\n"
    (tmp_path / "serving_vllm_stages_x.csv").write_text(STAGES + line)
    held = sending(resolve(read(tmp_path).tables[0], certain), 0)
    assert len(held.even) == EVEN and len(held.drawn) == STREAMS
    for even, drawn in zip(held.even, held.drawn, strict=False):
        assert even.input_tokens.mean() == pytest.approx(1000, rel=2e-3)
        assert even.output_tokens.mean() == pytest.approx(200, rel=2e-3)
        assert (len(even) - 1) / (even.arrival_ns[-1] / 1e9) == pytest.approx(4, rel=1e-6)
        order = drawn.input_tokens.argsort(kind="stable")
        assert (even.input_tokens[order][1:] >= even.input_tokens[order][:-1]).all()
    assert abs(held.drawn[0].input_tokens.mean() / 1000 - 1) > 2e-3
