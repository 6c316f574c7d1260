"""Every command as it is written in the README and depended on by scripts, on tiny settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.calling import call, succeed

TINY = ("--rate", 5, "--input-tokens", 300, "--output-tokens", 30, "--requests", 60)


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "requests.csv"
    rows = [f"{0.2 * i:.1f},{200 + 7 * i},{20 + i % 9}" for i in range(60)]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *rows]) + "\n")
    return path


def test_simulate_json_has_units_in_its_keys():
    got = succeed("simulate", "llama-3.1-8b", "--on", "a100-80gb", "--replicas", 1, *TINY, "--json")
    d = got.document
    assert d["requests"] == d["finished_requests"] == 60
    assert 0 < d["ttft_p50_ms"] <= d["ttft_p99_ms"]
    assert d["ttft_p99_ms_low_80"] <= d["ttft_p99_ms"] <= d["ttft_p99_ms_high_80"]
    assert d["requests_per_cpu_s"] == pytest.approx(60 / d["cpu_s"])
    assert d["memory_weights_gb"] == pytest.approx(16.1, abs=0.1)
    assert d["plan"]["replicas"] == 1 and d["plan"]["mesh"]["tp"] == 1
    assert d["calibration"]["basis"] and d["calibration"]["source"]
    assert d["price_date"] and d["seed"] == 0 and d["maquette_version"]


def test_simulated_cost_is_price_times_time_over_tokens():
    d = succeed("simulate", "llama-3.1-8b", "--on", "h100", *TINY, "--json").document
    tokens = d["output_tokens_per_s"] * d["duration_s"]
    usd = d["usd_per_hour"] * d["duration_s"] / 3600
    assert d["usd_per_mtok_output"] == pytest.approx(usd / tokens * 1e6)


def test_same_seed_same_document():
    def again(seed: int) -> dict:
        d = succeed("simulate", "llama-3.1-8b", "--on", "h100", *TINY, "--seed", seed, "--json")
        return {k: v for k, v in d.document.items() if "cpu_s" not in k}

    assert again(3) == again(3)
    assert again(3)["ttft_mean_ms"] != again(4)["ttft_mean_ms"]


def test_simulate_trace(trace):
    d = succeed("simulate", "llama-3.1-8b", "--on", "h100x2", "--trace", trace, "--json").document
    assert d["requests"] == 60 and d["plan"]["replicas"] == 2
    assert "requests.csv" in d["traffic"]


def test_options_reach_the_plan():
    d = succeed(
        "simulate", "llama-3.1-8b", "--on", "h100x8", "--for", "chat", "--requests", 30,
        "--tp", 2, "--replicas", 2, "--weights", "fp8", "--kv", "fp8", "--max-seqs", 32,
        "--max-batched-tokens", 1024, "--block-size", 32, "--kv-blocks", 500, "--engine", "sglang",
        "--no-prefix-caching", "--routing", "least-outstanding", "--timeout", "90s", "--draws", 0,
        "--memory-utilisation", 0.8, "--activation-peak", "3 GB", "--reserve", "500MB",
        "--graphs", "none", "--no-overlap", "--jitter", 0.01, "--json",
    ).document  # fmt: skip
    plan, policy = d["plan"], d["plan"]["policy"]
    assert (policy["graphs"], policy["overlap"]) == ("none", False)
    assert policy["jitter"] == 0.01
    assert (d["memory_activations_gb"], d["memory_reserve_gb"]) == (3.0, 0.5)
    assert d["memory_activations_source"] == d["kv_blocks_source"] == "given"
    assert d["kv_blocks_per_replica"] == 500
    assert plan["mesh"] == {"tp": 2, "pp": 1, "dp": 1, "ep": 1} and plan["replicas"] == 2
    assert plan["precision"] == {"weights": "fp8", "activations": "fp8", "kv": "fp8"}
    assert (policy["max_seqs"], policy["max_batched_tokens"]) == (32, 1024)
    assert (policy["block_size"], policy["kv_blocks"]) == (32, 500)
    assert policy["prefix_caching"] is False and policy["routing"] == "least-outstanding"
    assert policy["timeout_s"] == 90 and policy["memory_utilisation"] == 0.8
    assert d["engine"].startswith("sglang") and "ttft_p99_ms_low_80" not in d


def test_a_skew_of_experts_reaches_the_plan():
    asked = ("explain", "mixtral-8x7b", "--on", "h100x8", "--ep", 8, "--batch", 8, "--json")
    even, skewed = (succeed(*asked, *more).document for more in ((), ("--expert-skew", 0.5)))
    assert skewed["plan"]["policy"]["expert_skew"] == 0.5
    assert skewed["tpot_ms"] != even["tpot_ms"]


def test_prefill_can_have_its_own_replicas():
    d = succeed(
        "simulate", "llama-3.1-8b", "--on", "h100x4", *TINY, "--prefill-replicas", 2,
        "--prefill-tp", 1, "--json",
    ).document  # fmt: skip
    assert d["plan"]["mode"] == "disaggregated" and d["plan"]["prefill_replicas"] == 2
    assert d["plan"]["replicas"] == 2 and d["devices"] == 4


def test_what_if_makes_decoding_faster():
    base = ("explain", "llama-3.1-8b", "--on", "h100", "--batch", 8, "--json")
    slow = succeed(*base).document
    fast = succeed(*base, "--set", 'machine.hbm.bandwidth="8 TB/s"').document
    assert fast["tpot_ms"] < slow["tpot_ms"]


def test_closed_loop():
    d = succeed(
        "simulate", "llama-3.1-8b", "--on", "h100", "--concurrency", 4, "--input-tokens", 200,
        "--output-tokens", 20, "--requests", 40, "--draws", 0, "--json",
    ).document  # fmt: skip
    assert d["concurrency"] == 4 and d["mean_running_requests"] <= 4


def test_plan_json(trace):
    d = succeed(
        "plan", "llama-3.1-8b", "--on", "h100x2,a100-80gbx2", "--trace", trace, "--ttft", "500ms",
        "--tpot", "30ms", "--percentile", 99, "--json",
    ).document  # fmt: skip
    winner = d["winner"]
    assert winner["meets_targets"] and winner["ttft_p99_ms"] <= 500 and winner["tpot_p99_ms"] <= 30
    assert d["plans_enumerated"] >= d["plans_simulated"] >= 1
    costs = [o["usd_per_hour"] for o in d["outcomes"] if o["meets_targets"]]
    assert winner["usd_per_hour"] == min(costs)
    assert "vllm serve" in d["launch"]["vllm"] and d["launch"]["sglang"]
    speeds = [p["tokens_per_s_per_user"] for p in d["frontier"]]
    prices = [p["usd_per_mtok_output"] for p in d["frontier"]]
    assert speeds == sorted(speeds, reverse=True) and prices == sorted(prices, reverse=True)
    assert sum(s["share"] for s in d["explanation"]["decode"]) == pytest.approx(1)
    assert set(d["price_dates"]) == {"h100-sxm", "a100-80gb"}


def test_plan_writes_a_folder(trace, tmp_path):
    out = tmp_path / "deep" / "report"
    done = succeed("plan", "llama-3.1-8b", "--on", "h100", "--trace", trace, "--out", out)
    names = {p.name for p in out.iterdir()}
    assert {"plan.json", "index.html", "timeline.json", "launch-vllm.sh"} <= names
    assert "The winner" in done.out and "vllm serve" in done.out
    assert json.loads((out / "plan.json").read_text())["winner"]["meets_targets"]
    assert not [n for n in names if n.startswith(".")]  # nothing temporary is left


def test_explain_adds_up():
    d = succeed(
        "explain", "llama-3.1-70b", "--on", "h100x8", "--tp", 8, "--batch", 32, "--context", 4096,
        "--json",
    ).document  # fmt: skip
    for phase in ("decode", "prefill"):
        sections, time = d[phase]["sections"], d[phase]["time"]
        assert sum(s["total_ms"] for s in sections) == pytest.approx(time["point_ms"], rel=1e-6)
        assert sum(s["share"] for s in sections) == pytest.approx(1)
        assert time["low_80_ms"] <= time["point_ms"] <= time["high_80_ms"]
        assert d[phase]["speed_of_light_ms"] < time["point_ms"]
    assert {c["kind"] for c in d["decode"]["collectives"]} == {"all-reduce"}
    assert d["fits"] and not d["warnings"]


def test_explain_prints_tables():
    told = succeed("explain", "mixtral-8x7b", "--on", "h100x2", "--batch", 4).out
    out = " ".join(told.split())  # however wide the terminal
    assert "A decode step of 4 sequences" in out and "Collectives" in out and "80 % interval" in out


def test_explain_warns_of_a_batch_that_does_not_fit():
    done = succeed("explain", "llama-3.1-70b", "--on", "h100x2", "--weights", "fp8",
                   "--batch", 200, "--context", 100_000)  # fmt: skip
    assert "the KV cache has room for" in done.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("machine", "h100-sxm"), "3.35 TB/s"),
        (("machines",), "mi300x"),
        (("model", "deepseek-v3"), "671,026,419,200"),
        (("models",), "llama-3.1-70b"),
        (("engine", "vllm"), "max batched tokens"),
        (("engines",), "sglang"),
        (("traffic",), "chat"),
        (("traffic", "chat"), "Azure"),
        (("calibrations",), "h100-sxm"),
        (("calibration", "h100-sxm"), "of the memory bandwidth"),
    ],
)
def test_show(arguments, word):
    assert word in succeed("show", *arguments).out
    document = succeed("show", *arguments, "--json").document
    assert document["command"] == "show" and document["kind"]


def test_shown_facts_carry_unit_kind_and_source():
    facts = succeed("show", "machine", "h100", "--json").document["facts"]
    for fact in facts:
        assert fact["kind"] and fact["source"], fact
    [bandwidth] = [f for f in facts if f["path"] == "machine.tiers.hbm.bandwidth"]
    assert (bandwidth["value"], bandwidth["unit"]) == (3.35e12, "B/s")


def test_shown_paths_are_what_set_takes():
    """Every number that is shown can be changed by its path."""
    for fact in succeed("show", "machine", "h100", "--json").document["facts"]:
        if fact["unit"]:
            change = f'{fact["path"]}="{fact["value"]!r} {fact["unit"]}"'
            succeed("show", "machine", "h100", "--set", change)


def test_calibrate_validate_and_use(tmp_path):
    rows, fitted = tmp_path / "rows", tmp_path / "fitted.toml"
    rows.mkdir()
    lines = ["hardware,engine,version,model,precision,tp,batch,input_tokens,output_tokens,tpot_s"]
    lines += [f"h100-sxm,vllm,0.10,llama-3.1-8b,bf16,1,{b},512,128,{0.008 + b * 4e-5:.6f}"
              for b in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)]  # fmt: skip
    (rows / "static.csv").write_text("\n".join(lines) + "\n")
    d = succeed("calibrate", "--rows", rows, "--out", fitted, "--all-rows", "--json").document
    assert d["calibrations"][0]["machine"] == "h100-sxm" and fitted.exists()
    assert d["calibrations"][0]["fitted_median_ape_percent"] < 10
    v = succeed("validate", "--rows", rows, "--calibration", fitted, "--json").document
    assert v["rows_read"] == {"static": 12}
    priced = succeed("explain", "llama-3.1-8b", "--on", "h100", "--calibration", fitted, "--json")
    assert priced.document["calibration"]["basis"] == "fitted"


def test_version_and_help():
    assert succeed("--version").out.startswith("maquette 0.")
    for command in ("plan", "simulate", "explain", "show", "calibrate", "validate"):
        assert command in succeed("--help").out
        assert "--help" in succeed(command, "--help").out


def in_shell(line: str) -> tuple[int, str]:
    """Exit code and stderr of a line of bash in which ``maquette`` is this one."""
    line = line.replace("maquette", f"{sys.executable} -m maquette", 1)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command",
    ["show machines", "explain llama-3.1-8b --on h100 --json", "reproduce --list", "--help",
     "explain llama-3.1-8b --on h100"],
)  # fmt: skip
def test_a_closed_pipe_is_no_error(command):
    """Whoever reads may leave before the first line, or not be there at all."""
    assert in_shell(f"maquette {command} | true; exit ${{PIPESTATUS[0]}}") == (0, "")
    assert in_shell(f"maquette {command} >&-") == (0, "")


def test_a_closed_pipe_hides_no_fault():
    mistaken, left = "maquette show machine h1000", "| true; exit ${PIPESTATUS[0]}"
    assert in_shell(f"{mistaken} 2>&1 {left}") == in_shell(f"{mistaken} 2>&-") == (2, "")
    if Path("/dev/full").exists():
        full = in_shell("maquette show machine h100 >/dev/full")
        assert full == (2, "error: the disk is full\n")
    # Warnings that nobody hears lose the result: that is not the silence of a reader who has it.
    big = "explain llama-3.1-70b --on h100x2 --weights fp8 --batch 200 --context 100000"
    assert in_shell(f"maquette {big} 2>&1 >/dev/null {left}") == (2, "")
    assert in_shell(f"FORCE_COLOR=1 maquette show machines {left}") == (0, "")


def test_unexpected_errors_name_themselves(monkeypatch):
    import maquette.catalogue.engines as engines

    def broken() -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(engines, "engines", broken)
    done = call("show", "engines")
    assert done.code == 1 and "out of cheese" in done.err and "MAQUETTE_DEBUG=1" in done.err
    assert "Traceback" not in done.err


def test_plan_can_be_pinned():
    asked = ("plan", "llama-3.1-8b", "--on", "h100x8", *TINY, "--tp", 2, "--replicas", 2)
    d = succeed(*asked, "--json").document
    assert d["pinned"] == {"tp": 2, "replicas": 2}
    assert d["outcomes"] and all(o["plan"]["mesh"]["tp"] == 2 for o in d["outcomes"])
    assert all(o["plan"]["replicas"] == 2 for o in d["outcomes"])
    assert "tp 2 only" in succeed(*asked).out
