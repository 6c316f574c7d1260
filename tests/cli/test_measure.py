"""``maquette measure`` at the command line: what is refused, and a whole run over HTTP."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cli.calling import call, succeed
from maquette.measure import engine
from maquette.measure.engine import Launch, command, environment
from measure.fake_engine import fake_engine


def test_options_that_would_be_ignored_are_refused(tmp_path):
    done = call("measure", "--tp", 2, "--served-name", "x", "--out", tmp_path / "m")
    assert done.code == 2
    assert "--tp: has no meaning without --url" in done.err
    assert "--served-name: has no meaning without --url" in done.err
    done = call("measure", "--url", "http://localhost:1", "--threads", 1, "--out", tmp_path / "m")
    assert done.code == 2
    for part in ("--threads: has no meaning with --url", "--on: is missing", "--model: is missing"):
        assert part in done.err
    assert not (tmp_path / "m").exists()


def test_a_python_that_is_not_there_and_too_many_threads(tmp_path):
    done = call("measure", "--python", "no-such-python", "--threads", 10_000, "--out", tmp_path)
    assert done.code == 2 and "'no-such-python' is not there" in done.err
    assert "10000 of" in done.err


def test_without_vllm_it_says_how_to_get_it(tmp_path, monkeypatch):
    class Failed:
        returncode = 1
        stderr = "Traceback\nno such module"

    monkeypatch.setattr(engine.subprocess, "run", lambda *_, **__: Failed())
    done = call("measure", "--out", tmp_path)
    assert (
        done.code == 2
        and "has no vLLM for CPUs: no such module" in done.err
        and "make engine" in done.err
    )


def test_what_starts_the_engine_names_every_choice(tmp_path):
    launch = Launch(1, max_seqs=7, max_batched_tokens=300, longest=900, kv_gb=3, python="py")
    said = " ".join(command(launch, tmp_path, 4321))
    for part in ("--max-num-seqs 7", "--max-num-batched-tokens 300", "--max-model-len 900",
                 "--port 4321", "--load-format dummy", str(tmp_path)):  # fmt: skip
        assert part in said
    told = environment(launch)
    assert told["VLLM_CPU_KVCACHE_SPACE"] == "3" and told["HF_HUB_OFFLINE"] == "1"
    assert len(told["VLLM_CPU_OMP_THREADS_BIND"].split(",")) == 1


def test_unknown_names_come_before_any_work(tmp_path):
    done = call("measure", "--url", "http://127.0.0.1:9", "--model", "llama-3.1-8c", "--on",
                "h100", "--engine", "vlllm", "--out", tmp_path / "m")  # fmt: skip
    assert done.code == 2 and "unknown model" in done.err and "unknown engine" in done.err


NOWHERE = "http://127.0.0.1:9"


def asked(url, place):
    return ("measure", "--url", url, "--model", "llama-3.2-1b", "--on", "h100", "--max-seqs", 8,
            "--max-batched-tokens", 256, "--seconds", "0.1", "--out", place, "--json")  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """An engine at an address, measured after a try at another one where nobody is.

    It sleeps, so nothing of it is a model of anything.
    """
    place = tmp_path_factory.mktemp("cli") / "m"
    done = call(*asked(NOWHERE, place))
    assert done.code == 2 and "was answered" in done.err
    assert not [p for p in place.rglob("*") if p.is_file()]
    with fake_engine(first=0.004, gap=0.001) as (url, _):
        done = succeed(*asked(url, place))
    assert json.loads((place / "launch.json").read_text())["url"] == url
    return place, done.document


def test_runs_of_another_address_are_not_mixed_in(measured):
    place, _ = measured
    before = (place / "launch.json").read_text()
    done = call(*asked(NOWHERE, place))
    assert done.code == 2 and "is of another engine, model or choice" in done.err
    assert (place / "launch.json").read_text() == before


def test_a_run_over_http_is_kept_judged_and_drawn(measured):
    place, told = measured
    assert len(told["runs"]) == 14 and len(list((place / "runs").glob("*.json"))) == 14
    assert {h["split"] for h in told["halves"]} == {"alternate", "heavier"}
    for half in told["halves"]:
        assert not set(half["fitted"]) & set(half["predicted"])
        line = next(e for e in half["errors"] if e["quantity"] == "e2e" and
                    e["statistic"] == "mean")  # fmt: skip
        assert line["n"] > 0 and line["median_ape_percent"] >= 0
        assert line["noise_floor_percent"] is not None
    assert "<svg" in (place / "measured.svg").read_text()
    assert json.loads((place / "runs" / "clients-2.json").read_text())["max_concurrency"] == 2


def test_what_was_written_is_read_by_the_other_commands(measured):
    place, _ = measured
    succeed("simulate", "llama-3.2-1b", "--on", "h100", "--rate", 5, "--requests", 20,
            "--input-tokens", 64, "--output-tokens", 8, "--draws", 2,
            "--calibration", place / "calibration.toml", "--json")  # fmt: skip


def test_the_document_is_documented(measured):
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    section = text.split("\n## measure\n")[1].split("\n## ")[0]
    _, told = measured
    first = {"command", "schema", "maquette_version"}
    assert {*told} - first == {"written", "runs", "halves", "calibration"}
    stems = (r"(ttft|tpot|itl|e2e)_.*_s$", r"^(uncalibrated|null_interpolated)_.*")
    for keyed in (told.keys() - first, told["runs"][0], told["halves"][0],
                  told["halves"][0]["errors"][0], told["calibration"]):  # fmt: skip
        named = {k for k in keyed if not any(re.search(s, k) for s in stems)}
        assert not {k for k in named if f"`{k}`" not in section}
