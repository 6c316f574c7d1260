"""Results of every tool are read as their documents say, and strictly."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from maquette.errors import InputError
from maquette.validate.runs.folder import read
from validate.runs.results import (
    AIPERF,
    DEPLOYED,
    GENAI_PERF,
    GUIDELLM,
    INFERENCE_PERF,
    TABLE,
    VLLM,
    save,
)


def faults(folder) -> list[str]:
    with pytest.raises(InputError) as error:
        read(folder)
    return [str(f) for f in error.value.faults]


def one(folder):
    (run,) = read(folder).runs
    return run


def test_vllm(tmp_path):
    run = one(save(tmp_path, a=VLLM))
    assert run.measured["ttft", "mean"] == 0.120
    assert run.measured["ttft", "p50"] == 0.100
    assert run.measured["tpot", "p99"] == 0.015
    assert run.measured["itl", "mean"] == 0.0121
    assert ("e2e", "mean") not in run.measured  # it is not among the tool's default metrics
    assert (run.load.concurrency, run.load.rate, run.load.requests) == (32, None, 200)
    assert (run.load.inputs.mean, run.load.outputs.mean) == (512, 128)
    assert run.said.engine == "vllm"


def test_vllm_at_a_rate_with_bursts_and_metadata(tmp_path):
    more = {"request_rate": 4.0, "burstiness": 0.25, "max_concurrency": None, "tp": "4",
            "ticket": "7"}  # fmt: skip
    run = one(save(tmp_path, a=VLLM | more))
    assert run.load.rate == 4.0 and run.load.concurrency is None
    assert run.load.arrivals.cv == 2.0  # gaps of a gamma distribution of shape 1/4
    assert run.said.tp == 4


def test_vllm_all_at_once_is_as_many_clients(tmp_path):
    assert one(save(tmp_path, a=VLLM | {"max_concurrency": None})).load.concurrency == 200


def test_vllm_appended_and_detailed(tmp_path):
    lens = {"input_lens": [100, 200] * 100, "output_lens": [0, 30] * 100}
    (tmp_path / "a.json").write_text(json.dumps(VLLM) + "\n" + json.dumps(VLLM | lens))
    first, second = read(tmp_path).runs
    assert first.load.listed is None
    inputs, outputs = second.load.listed
    assert np.all(inputs == 200) and np.all(outputs == 30) and len(inputs) == 100


def test_aiperf(tmp_path):
    run = one(save(tmp_path, profile_export_aiperf=AIPERF))
    assert run.tool == "AIPerf"
    assert run.measured["tpot", "mean"] == pytest.approx(0.0122)  # its inter-token latency
    assert run.measured["e2e", "p90"] == pytest.approx(1.9)
    assert (run.load.rate, run.load.arrivals.cv, run.load.requests) == (2.0, 0.5, 100)
    assert run.load.outputs.lengths(None).mean() == pytest.approx(128, rel=0.02)
    assert run.said.model == "llama-3.1-8b"


def test_aiperf_phases(tmp_path):
    phases = [{"name": "warmup", "concurrency": 1}, {"name": "profiling", "concurrency": 12}]
    config = {"phases": phases, "models": {"items": [{"name": "llama-3.1-8b"}]}}
    run = one(save(tmp_path, profile_export_aiperf=AIPERF | {"input_config": config}))
    assert run.load.concurrency == 12 and run.said.model == "llama-3.1-8b"


def test_genai_perf(tmp_path):
    run = one(save(tmp_path, profile_export_genai_perf=GENAI_PERF))
    assert run.tool == "GenAI-Perf" and run.load.concurrency == 16


def test_units_of_a_metric_count(tmp_path):
    slow = AIPERF | {"time_to_first_token": {"unit": "s", "avg": 0.05}}
    assert one(save(tmp_path, a=slow)).measured["ttft", "mean"] == 0.05
    (fault,) = faults(save(tmp_path, a=AIPERF | {"time_to_first_token": {"unit": "h", "avg": 1}}))
    assert "a.json: time_to_first_token.unit" in fault


def test_guidellm(tmp_path):
    runs = read(save(tmp_path, benchmarks=GUIDELLM)).runs
    assert [(r.load.rate, r.load.concurrency) for r in runs] == [(None, 1), (None, 8), (3.5, None)]
    assert runs[2].load.arrivals.process == "constant"
    assert runs[0].measured["itl", "mean"] == 0.012
    assert runs[0].measured["ttft", "p99"] == 0.099
    assert runs[0].measured["e2e", "mean"] == 1.6
    assert not any(q == "tpot" for q, _ in runs[0].measured)  # theirs counts the first token


def test_inference_perf_derives_the_time_between_tokens(tmp_path):
    run = one(save(tmp_path, stage_0_lifecycle_metrics=INFERENCE_PERF))
    assert run.measured["itl", "mean"] == pytest.approx((1.6 - 0.05) / 127)
    assert not any(q == "tpot" for q, _ in run.measured)
    assert run.load.inputs.lengths(None).mean() == pytest.approx(512, rel=0.02)
    assert run.load.rate == 2.0


def test_a_client_that_fell_behind_measures_itself(tmp_path):
    slow = copy.deepcopy(INFERENCE_PERF)
    slow["load_summary"] |= {"requested_rate": 54.25, "achieved_rate": 37.95}
    (fault,) = faults(save(tmp_path, stage_0_lifecycle_metrics=slow))
    assert "load_summary.achieved_rate: is 37.95 of 54.25" in fault


def test_a_summary_of_stages_is_no_run_of_its_own(tmp_path):
    save(tmp_path, stage_0_lifecycle_metrics=INFERENCE_PERF, stage_0_prometheus_metrics={})
    found = read(save(tmp_path, summary_lifecycle_metrics=INFERENCE_PERF))
    assert len(found.runs) == 1
    assert {s.file for s in found.skipped} == {
        "stage_0_prometheus_metrics.json", "summary_lifecycle_metrics.json",
    }  # fmt: skip


def test_a_table(tmp_path):
    first, second = read(
        save(tmp_path, x=TABLE + "a,2,,50,512,128,40,12,1.5\n,,8,50,9,9,40,12,2\n")
    ).runs
    assert first.name == "a" and first.load.rate == 2 and second.load.concurrency == 8
    assert first.measured == {("ttft", "mean"): 0.04, ("tpot", "mean"): 0.012, ("e2e", "p50"): 1.5}


def test_all_faults_of_all_files_at_once(tmp_path):
    wrong = copy.deepcopy(INFERENCE_PERF)
    del wrong["successes"]["latency"]["time_to_first_token"]
    wrong["successes"]["latency"]["request_latency"]["mean"] = "fast"
    strange = {k: v for k, v in VLLM.items() if k != "mean_tpot_ms"} | {"mean_tpo_ms": 1.0}
    save(tmp_path, a=strange, b=wrong, c={"hello": 1}, d="run,rate,ttft\n")
    (tmp_path / "e.json").write_text("{")
    found = faults(tmp_path)
    for part in (
        "a.json: mean_tpot_ms: is missing",
        "a.json: mean_tpo_ms: is not a key",
        "b.json: successes.latency.time_to_first_token: is missing",
        "b.json: successes.latency.request_latency.mean: is 'fast'",
        "c.json: is of no known tool",
        "d.csv: ttft: is not a column",
        "d.csv: requests: is missing",
        "e.json: is not JSON",
    ):
        assert sum(part in f for f in found) == 1, (part, found)


@pytest.mark.parametrize(
    "change, part",
    [
        ({"completed": 100}, "completed: only 100 of 200"),
        ({"request_rate": 3.0}, "max_concurrency: is 32 beside a rate of 3/s"),
        ({"spec_decode_acceptance_rate": 70.0}, "speculative decoding"),
        ({"ramp_up_strategy": "linear"}, "a ramp"),
        ({"mean_ttft_ms": float("nan")}, "mean_ttft_ms: is nan"),
        ({"num_prompts": 2.5}, "num_prompts: is 2.5"),
    ],
)
def test_vllm_runs_that_would_mislead_are_refused(tmp_path, change, part):
    assert any(part in f for f in faults(save(tmp_path, a=VLLM | change)))


def test_a_row_says_what_is_wrong_with_it(tmp_path):
    found = faults(save(tmp_path, x=TABLE + "a,2,8,50,512,128,-1,12,1\nb,,,x,512,128,4,12,1\n"))
    assert [f.split(":")[0] for f in found] == ["x.csv row 1"] * 2 + ["x.csv row 2"] * 2


def test_sidecars_options_and_files_agree(tmp_path):
    inner = tmp_path / "fast"
    inner.mkdir()
    save(inner, a=VLLM | {"tp": "2"})
    (tmp_path / "deployment.toml").write_text(DEPLOYED)
    (inner / "deployment.toml").write_text('on = "h200"\n')
    said = one(tmp_path).said
    assert (said.on, said.version, said.model, said.tp) == ("h200", "0.15.1", "llama-3.1-8b", 2)
    (inner / "deployment.toml").write_text("tp = 4\n")
    (fault,) = faults(tmp_path)
    assert "fast/a.json: tp: is 2 in the file and 4 beside it" in fault
    (inner / "deployment.toml").write_text("tpp = 4\n")
    assert any("fast/deployment.toml: tpp" in f for f in faults(tmp_path))


def test_a_folder_without_runs(tmp_path):
    assert "holds no run" in faults(tmp_path)[0]
    assert "is not a folder" in faults(tmp_path / "none")[0]
