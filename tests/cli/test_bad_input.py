"""Bad input: what is wrong is named, the exit code is 2, and there is no traceback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from cli.calling import call

HEAD = "arrival_s,input_tokens,output_tokens\n"
SIMULATE = ("simulate", "llama-3.1-8b", "--on", "h100")
PLAN = ("plan", "llama-3.1-8b", "--on", "h100")
MADE = ("--input-tokens", 100, "--output-tokens", 10, "--requests", 5)


def refused(*arguments: object) -> str:
    done = call(*arguments)
    assert done.code == 2, (done.code, done.err)
    assert "Traceback" not in done.err and not done.out
    return done.err


TRACES = {
    "malformed": (HEAD + "0,100,10\n1,abc,10\n", ("row 3", "input_tokens", "abc")),
    "empty": ("", ("is empty",)),
    "only a header": (HEAD, ("no requests",)),
    "another header": ("a,b,c\n1,2,3\n", ("arrival_s",)),
    "negative time": (HEAD + "0,100,10\n-1,100,10\n", ("row 3", "arrival_s", "negative")),
    "unsorted": (HEAD + "0,9,9\n5,9,9\n2,9,9\n", ("row 4", "arrival_s", "order of time")),
    "no output": (HEAD + "0,100,0\n", ("row 2", "output_tokens")),
    "too long": (HEAD + "0,900000,10\n1,800000,20\n", ("800,020 tokens", "KV cache")),
}


@pytest.mark.parametrize("case", TRACES)
def test_traces(case, tmp_path):
    text, words = TRACES[case]
    path = tmp_path / "trace.csv"
    path.write_text(text)
    told = refused(*SIMULATE, "--trace", path)
    for word in words:
        assert word in told


FILES = {
    "duplicate key": ('like = "h100-sxm"\ntitle = "x"\ntitle = "y"\n', ("line 3", "twice")),
    "bits": (
        'like = "h100-sxm"\n[tiers.hbm]\n'
        'bandwidth = { value = "3 Tb/s", kind = "assumed", source = "me" }\n',
        ("tiers.hbm.bandwidth", "bits"),
    ),
    "unknown key": ('like = "h100-sxm"\nnodes = 4\n', ("nodes", "did you mean node")),
    "not TOML": ("like = \n", ("not valid TOML",)),
}


@pytest.mark.parametrize("case", FILES)
def test_machine_files(case, tmp_path):
    text, words = FILES[case]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    told = refused("explain", "llama-3.1-8b", "--on", path)
    for word in ("mine.toml", *words):
        assert word in told


CASES = [
    # unknown names, with the nearest
    (("plan", "lama-3.1-70b", "--on", "h100x8", "--for", "chat"), "did you mean llama-3.1-70b"),
    (("plan", "llama-3.1-8b", "--on", "h10x8", "--for", "chat"), "did you mean h100"),
    ((*PLAN, "--for", "chatt"), "did you mean chat"),
    ((*PLAN, "--for", "chat", "--engine", "vlm"), "did you mean vllm"),
    ((*SIMULATE, "--for", "chat", "--engine", "vllm@0.10,sglang"), "'0.10,sglang' is no version"),
    ((*SIMULATE, "--for", "chat", "--engine", "vllm-0.14@0.6"),
     "--engine: vllm-0.14 is not the core that vllm 0.6 has; expected vllm-0.6"),
    ((*PLAN, "--for", "chat", "--weights", "fp88"), "did you mean fp8"),
    ((*SIMULATE, "--for", "chat", "--kv", "pf8"), "pf8"),
    ((*PLAN, "--for", "chat", "--tftt", "1s"), "did you mean --ttft"),
    (("pland", "llama-3.1-8b"), "did you mean plan"),
    (("show", "machin", "h100"), "did you mean machine"),
    (("show", "machine", "h1000"), "did you mean h100"),
    (("show", "model", "deepseek-v4"), "deepseek-v3"),
    (("explain", "llama-3.1-8b", "--on", "h100", "--set", "machine.hbm.width=1"), "width"),
    # units
    (("explain", "llama-3.1-8b", "--on", "h100", "--set", "machine.hbm.bandwidth=4 Tb/s"), "bits"),
    ((*PLAN, "--for", "chat", "--ttft", "500"), "has no unit"),
    ((*PLAN, "--for", "chat", "--tpot", "-3ms"), "more than zero"),
    ((*PLAN, "--for", "chat", "--tpot", "3 MB"), "unknown unit"),
    # what cannot be
    (("simulate", "llama-3.1-70b", "--on", "h100", "--for", "chat"), "short by"),
    (("plan", "llama-3.1-405b", "--on", "h100x2", "--for", "chat"), "short by"),
    (("explain", "llama-3.1-70b", "--on", "h100x8", "--tp", "3"), "key-value heads"),
    (("explain", "llama-3.1-8b", "--on", "h100", "--tp", "2"), "2 devices"),
    (("explain", "llama-3.1-8b", "--on", "h100x4", "--tp", "4", "--replicas", "2"), "8 devices"),
    (("explain", "llama-3.1-8b", "--on", "a100", "--weights", "fp8"), "fp8"),
    (("explain", "llama-3.1-8b", "--on", "plasticine"), "capacity is not published"),
    (("explain", "llama-3.1-8b", "--on", "cs-3", "--engine", "vllm"), "does not run on"),
    (("explain", "llama-3.1-8b", "--on", "h100", "--cold", "0.5"), "streams no weights"),
    (("simulate", "llama-3.1-8b", "--on", "groq-lpux8", "--for", "chat"), "short by"),
    ((*SIMULATE, "--for", "chat", "--max-batched-tokens", "64", "--max-seqs", "128"),
     "--max-batched-tokens"),
    (("plan", "llama-3.1-8b", "--on", "h100x8", "--for", "chat", "--tp", "3"), "over tp 3"),
    ((*PLAN, "--for", "chat", "--tp", "2"), "2 devices"),
    ((*PLAN, "--for", "chat", "--replicas", "2"), "2 devices"),
    # what means nothing
    ((*SIMULATE, "--for", "chat", "--expert-skew", "1"), "--expert-skew: has no meaning"),
    ((*PLAN, "--for", "chat", "--expert-skew", "1"), "--expert-skew: has no meaning"),
    ((*PLAN, "--for", "chat", "--graphs", "none", "--captured", "9"), "--captured: has no meaning"),
    (("explain", "llama-3.1-8b", "--on", "h100", "--expert-skew", "0"), "which has no experts"),
    (("explain", "llama-3.1-8b", "--on", "h100", "--graphs", "none", "--captured", "512"),
     "--captured: has no meaning where graphs are 'none'"),
    # contradictions, both named
    ((*SIMULATE, "--for", "chat", "--trace", "x.csv"), "--for and --trace"),
    ((*SIMULATE, "--for", "chat", "--input-tokens", "9"), "--for and --input-tokens"),
    ((*SIMULATE, *MADE, "--rate", "1", "--concurrency", "2"), "--concurrency and --rate"),
    ((*SIMULATE, "--trace", "x", "--rate", "1", "--rate-scale", "2"), "--rate and --rate-scale"),
    ((*SIMULATE, *MADE, "--rate", "1", "--arrivals", "poisson", "--arrival-cv", "2"),
     "--arrivals and --arrival-cv"),
    ((*SIMULATE, *MADE, "--concurrency", "2", "--arrivals", "gamma"), "--concurrency and --arriv"),
    ((*SIMULATE, "--for", "chat", "--prefill-tp", "2"), "--prefill-replicas: is missing"),
    (("show", "engines", "--set", "machine.node=4"), "--set"),
    # missing, out of range
    ((*SIMULATE,), "nothing says what the requests are"),
    ((*SIMULATE, "--rate", "3"), "--input-tokens"),
    (("plan", "llama-3.1-8b", "--for", "chat"), "--on"),
    (("explain", "llama-3.1-8b", "--on", "h100", "--tp", "0"), "--tp"),
    ((*SIMULATE, *MADE, "--rate", "0"), "--rate"),
    ((*PLAN, "--for", "chat", "--percentile", "100"), "--percentile"),
    (("explain", "llama-3.1-8b", "--on", "h100x0"), "at least 1"),
    ((*SIMULATE, *MADE, "--rate", "1e-12"),
     "--rate: at 1e-12 the 5 requests span more than 292 years"),
    ((*SIMULATE, *MADE, "--concurrency", "2", "--set", 'machine.hbm.bandwidth="1e-9 B/s"'),
     "the simulation: takes more than 292 years"),
    ((*SIMULATE, *MADE, "--rate", "nan"), "--rate: nan is not a finite number"),
    ((*SIMULATE, *MADE, "--rate", "inf"), "--rate: inf is not a finite number"),
    ((*PLAN, "--for", "chat", "--percentile", "nan"), "--percentile"),
    ((*PLAN, "--for", "chat", "--engine", ","), "--engine: ',' names nothing"),
    ((*PLAN, "--for", "chat", "--precision", ","), "names nothing"),
    (("plan", "", "--on", "h100", "--for", "chat"), "MODEL: is empty"),
    (("plan", "llama-3.1-8b", "--on", "", "--for", "chat"), "--on: is empty"),
    (("explain", "llama-3.1-8b", "--on", "h100,a100"), "--on: 2 systems are named"),
    # paths
    ((*PLAN, "--for", "chat", "--out", ""), "--out: is empty"),
    ((*SIMULATE, "--trace", "nowhere.csv"), "nowhere.csv"),
    (("explain", "./nowhere/config.json", "--on", "h100"), "nowhere"),
    (("explain", "llama-3.1-8b", "--on", "./nowhere.toml"), "nowhere.toml"),
    ((*PLAN, "--for", "chat", "--out", "/dev/null/report"), "/dev/null/report"),
    ((*PLAN, "--for", "chat", "--html", "/dev/null/x.html"), "--html"),
    (("validate", "--rows", "nowhere"), "nowhere"),
    (("calibrate", "--rows", "nowhere", "--out", "/dev/null/x.toml"), "--out"),
    (("explain", "llama-3.1-8b", "--on", "h100", "--calibration", "nowhere.toml"), "nowhere.toml"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "word"), CASES, ids=lambda v: None)
def test_cases(arguments, word):
    assert word in refused(*arguments)


def test_all_faults_at_once():
    told = refused(*SIMULATE, "--for", "chat", "--trace", "x", "--rate", 1, "--concurrency", 2)
    assert "--for and --trace" in told and "--concurrency and --rate" in told


def test_faults_of_model_systems_and_traffic_come_together():
    told = refused("plan", "lama-3.1-8b", "--on", "h10x8,a10x2", "--for", "chta")
    for word in ("'lama-3.1-8b'", "'h10'", "'chta'"):
        assert word in told
    told = refused(*PLAN, "--engine", "vlm,sgl", "--weights", "fp9", "--for", "chat")
    for word in ("'vlm'", "'sgl'", "'fp9'"):
        assert word in told


def test_nothing_asked_is_told_what_there_is():
    told = refused()
    assert told.startswith("Usage") and "plan" in told and "error" not in told


def test_faults_as_json():
    done = call("explain", "lama-3.1-8b", "--on", "h100", "--json")
    [fault] = json.loads(done.err)["errors"]
    assert done.code == 2 and not done.out
    assert fault["what"] == "unknown model 'lama-3.1-8b'" and "llama-3.1-8b" in fault["hint"]


def test_unknown_architecture_names_the_supported(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gptx", "architectures": ["GPTXForCausalLM"]}))
    told = refused("explain", path, "--on", "h100")
    assert "GPTX" in told and "LlamaForCausalLM" in told


def test_unreadable_trace(tmp_path):
    path = tmp_path / "folder.csv"
    path.mkdir()
    assert "folder.csv" in refused(*SIMULATE, "--trace", path)


def test_paths_are_refused_before_the_work(monkeypatch):
    """A search that would take a minute does not start when its results have nowhere to go."""
    import maquette.api

    monkeypatch.setattr(maquette.api, "plan", lambda *_, **__: pytest.fail("started"))
    refused(*PLAN, "--for", "chat", "--out", "/dev/null/x")


def test_interrupted_search_keeps_what_it_found(monkeypatch, tmp_path):
    import maquette.search.plan as search

    real, calls = search.run, []

    def after_two(*arguments, **options):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(search, "run", after_two)
    asked = ("plan", "llama-3.1-8b", "--on", "h100x8", "--for", "chat", "--requests", 100)
    done = call(*asked, "--out", tmp_path, "--json")
    assert done.code == 2 and "interrupted" in done.err and "Traceback" not in done.err
    assert done.document["interrupted"] and len(done.document["outcomes"]) == 2
    assert json.loads((tmp_path / "plan.json").read_text())["interrupted"]


def test_interrupt_by_signal():
    """Ctrl-C at any moment: a word, 2, no traceback."""
    asked = ["simulate", "llama-3.1-8b", "--on", "a100-80gb", "--rate", "6", "--requests", "300000",
             "--input-tokens", "1000", "--output-tokens", "200"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "maquette", *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that runs tests in the background has its jobs ignore the signal.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 2, told
    assert b"interrupted" in told and b"Traceback" not in told


def test_no_file_is_left_half_written(tmp_path, monkeypatch):
    from maquette.report import files

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target: Path = files.place(tmp_path / "page.html")
    target.write_text("before")
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write(target, "after")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"] and target.read_text() == "before"


def test_interrupted_while_writing_still_answers(monkeypatch, tmp_path):
    import maquette.api

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(maquette.api, "winner", interrupted)
    asked = ("plan", "llama-3.1-8b", "--on", "h100", "--for", "chat", "--requests", 60)
    done = call(*asked, "--out", tmp_path / "x", "--json")
    assert done.code == 2 and "only those named above were written" in done.err
    assert done.document["winner"] and not list((tmp_path / "x").iterdir())


def test_interrupted_while_it_loads(monkeypatch, capsys):
    """Before there is a command line there is no traceback either."""
    import maquette.__main__ as program
    import maquette.cli.main as commands

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "main", interrupted)
    with pytest.raises(SystemExit) as left:
        program.main()
    assert left.value.code == 2 and "interrupted" in capsys.readouterr().err
