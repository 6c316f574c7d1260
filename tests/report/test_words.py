"""What a person reads of a search: names, marks, lines that can be copied."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

import maquette as mq
from maquette.plans.types import Mesh, Plan, Precision
from maquette.report import planned
from maquette.report.names import devices, formats, occupied, parallel, spoken
from maquette.report.tables import write


@pytest.fixture(scope="module")
def stream():
    return mq.requests(rate=4, input_tokens=400, output_tokens=60, requests=80)


@pytest.fixture(scope="module")
def answer(stream):
    return mq.plan("llama-3.1-8b", on="h100x2", traffic=stream, ttft=0.5, tpot=0.05)


def printed(answer, capsys) -> str:
    capsys.readouterr()
    write(planned.tables(answer))
    return capsys.readouterr().out


def test_names():
    eight, one = mq.system("h100x8"), mq.system("h100")
    assert devices(eight) == "8 × h100-sxm" and devices(one) == "h100-sxm"
    plan = Plan(mesh=Mesh(tp=2), replicas=2, prefill_mesh=Mesh(pp=2), prefill_replicas=1)
    assert parallel(plan) == "tp2 × 2 + pp2 prefill"
    assert occupied(plan, eight) == "6 of 8 × h100-sxm" and occupied(Plan(), one) == "h100-sxm"
    assert formats(Precision()) == "bf16"
    assert formats(Precision(weights="fp8")) == "w:fp8 a:bf16 kv:bf16"


def test_a_sentence_keeps_names_that_contain_one_another():
    text = "tp4 on h100-sxmx8 costs more than on h100-sxmx80 and on mi300x"
    said = spoken(text, [mq.system(n) for n in ("h100x8", "h100x80", "mi300x")])
    assert said == "tp4 on 8 × h100-sxm costs more than on 80 × h100-sxm and on mi300x"


def test_the_answer_comes_first(answer, capsys):
    lines = printed(answer, capsys).splitlines()
    assert next(i for i, line in enumerate(lines) if line.startswith("plan ")) < 8
    assert "2 × h100-sxm" in lines[1]
    assert not any(line != line.rstrip() for line in lines)


def test_the_launch_command_can_be_copied(answer, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")  # too narrow for it, and it is not wrapped
    out = printed(answer, capsys)
    copied = out[out.index("vllm serve") :]
    assert shlex.split(copied) == shlex.split(answer.launch["vllm"])


def test_the_frontier_falls(answer, capsys):
    lines = printed(answer, capsys).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Interactivity"))
    rows = [line.split() for line in lines[start + 3 : start + 3 + planned.POINTS]]
    speeds, prices = ([float(r[i].replace(",", "")) for r in rows] for i in (0, 1))
    assert speeds == sorted(speeds, reverse=True) and prices == sorted(prices, reverse=True)
    ends = answer.frontier[0], answer.frontier[-1]
    assert speeds[0] == pytest.approx(ends[0].tokens_per_s_user, rel=0.01)
    assert prices[-1] == pytest.approx(ends[1].usd_per_mtok_output, rel=0.01)


def test_missed_latencies_are_marked(answer):
    tight = replace(answer.question.targets, tpot=answer.outcomes[0].metrics.tpot.mean / 2)
    asked = replace(answer, question=replace(answer.question, targets=tight))
    heads, rows = planned.plan_rows(asked)
    assert "✗" in rows[0][heads.index(">TPOT")] and "✗" not in rows[0][heads.index(">TTFT")]


def test_the_nearest_plan_says_what_is_missing(stream, capsys):
    found = mq.plan("llama-3.1-8b", on="h100", traffic=stream, ttft=0.5, tpot=0.0080)
    assert found.winner is None and found.outcomes
    out = printed(found, capsys)
    assert "No plan keeps the targets; the nearest" in out and "missing   TPOT p99" in out


def test_columns_that_say_nothing_are_left_out(stream):
    one = mq.plan("llama-3.1-8b", on="h100x2", traffic=stream, ttft=0.5)
    two = mq.plan("llama-3.1-8b", on="h100x2,a100-80gb", traffic=stream, ttft=0.5,
                  weights="bf16,int4")  # fmt: skip
    assert "formats" not in planned.plan_rows(one)[0]
    heads, rows = planned.plan_rows(two)
    assert "formats" in heads and any("h100" in cell for row in rows for cell in row)
