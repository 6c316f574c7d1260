"""Facts that are set and change nothing: they are told, and only they."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

import maquette as mq
from cli.calling import call, succeed
from maquette.catalogue.machines import system
from maquette.machines.checks import facts
from maquette.machines.doubts import scaled
from maquette.machines.types import Fact, System
from maquette.report import explained, planned, simulated
from maquette.search import whatifs
from maquette.search.types import Question, Targets
from maquette.search.whatifs import idle, searched

EXPLAIN = ("explain", "llama-3.1-8b", "--on", "h100x4", "--tp", 2, "--pp", 2, "--batch", 16)
FEW = ("--input-tokens", 64, "--output-tokens", 8, "--requests", 40)


def changes(path: str, value: str) -> tuple[str, str]:
    return "--set", f"machine.{path}={value}"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("serial.launch", "1 ms"),
        ("serial.p2p", "1 s"),
        ("compute.ceiling.bf16", "100 TFLOP/s"),
        ("compute.matrix.fp8", "1 TFLOP/s"),
        ("tiers.l2.bandwidth", "1 GB/s"),
        ("tiers.smem.capacity", "1 MB"),
        ("links.scale_out.bandwidth", "1 GB/s"),
        ("power.tdp", "1 kW"),
    ],
)
def test_what_changes_nothing_is_told(path, value):
    done = succeed(*EXPLAIN, *changes(path, value))
    assert f"warning: --set machine.{path} changes nothing" in done.err
    warned = succeed(*EXPLAIN, *changes(path, value), "--json").document["warnings"]
    assert warned == [f"--set machine.{path} changes nothing: no figure here depends on it"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hbm.bandwidth", "4 TB/s"),
        ("hbm.capacity", "90 GB"),
        ("compute.matrix.bf16", "900 TFLOP/s"),
        ("compute.vector", "900 PFLOP/s"),  # far from binding, and read
        ("compute.units", "100"),
        ("links.scale_up.latency", "2 us"),
        ("links.scale_up.pair_bandwidth", "9 GB/s"),
        ("price.per_hour", "1 USD/h"),
    ],
)
def test_what_changes_something_is_not(path, value):
    assert not succeed(*EXPLAIN, *changes(path, value), "--json").document["warnings"]


def test_it_depends_on_the_plan_and_on_the_command():
    link, watts = changes("links.scale_up.bandwidth", "9 GB/s"), changes("power.idle", "9 W")
    apart = ("--prefill-replicas", 1)
    asked = ("simulate", "llama-3.1-8b", "--on", "h100x2", "--tp", 1, *FEW, "--concurrency", 2)
    alone = succeed(*asked, "--draws", 0, *link, *watts, "--json").document["warnings"]
    assert [w for w in alone if "--set" in w] == [
        "--set machine.links.scale_up.bandwidth changes nothing: no figure here depends on it"
    ]
    handed = succeed(*asked, *apart, "--draws", 0, *link, *watts, "--json").document["warnings"]
    assert not [w for w in handed if "--set" in w]


def test_a_search_is_told_what_none_of_its_plans_reads():
    sets = (*changes("links.scale_up.bandwidth", "9 MB/s"), *changes("serial.p2p", "1 s"))
    asked = ("plan", "llama-3.1-8b", "--on", "h100x2", *FEW, "--concurrency", 2, "--ttft", "1s")
    done = succeed(*asked, *sets)
    assert done.err.count("changes nothing") == 1 and "machine.serial.p2p changes" in done.err


def test_a_search_that_is_interrupted_while_it_asks_keeps_its_answer(monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(whatifs, "idle", interrupted)
    done = call("plan", "llama-3.1-8b", "--on", "h100", *FEW, "--concurrency", 2, "--json")
    assert done.code == 2 and done.document["winner"]


def everything_set(part: Any) -> Any:
    """A machine all of whose facts were overridden."""
    if isinstance(part, Fact):
        return replace(part, source="--set")
    if isinstance(part, dict):
        return {k: everything_set(v) for k, v in part.items()}
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{f.name: everything_set(getattr(part, f.name))
                                for f in fields(part)})  # fmt: skip
    return part


def other(where: System, paths: list[str]) -> System:
    """A system where all of these facts are another number."""
    machine = where.machine
    for path in paths:
        machine = scaled(machine, path, 3.0)
    return replace(where, machine=machine)


def named(warnings: list[str]) -> list[str]:
    return [w.split()[1].removeprefix("machine.") for w in warnings]


def figures(document: dict[str, Any]) -> str:
    """A document but for the time it took, and for facts it says that nobody vouches for."""
    told = ("cpu_s", "doubtful")
    return repr({k: v for k, v in document.items() if not any(word in k for word in told)})


STYLES = [
    ("h100x4", "llama-3.1-8b", {"tp": 2}),
    ("h100x4", "mixtral-8x7b", {"tp": 2, "dp": 2, "ep": 4, "weights": "fp8"}),
    ("mi355x", "deepseek-v2-lite", {}),  # priced by another machine's calibration
    ("sn40lx8", "llama-3.1-8b", {}),
    ("cs-3", "llama-3.1-8b", {}),
    ("corsair-server", "llama-3.1-8b", {}),
    ("groq-lpux128", "llama-3.1-8b", {"weights": "int8"}),
]


@pytest.mark.parametrize(("on", "model", "options"), STYLES, ids=[s[0] for s in STYLES])
def test_answers_know_no_more_than_what_is_asked(on, model, options):
    """All facts said to change nothing are another number at once: no figure of an answer moves."""
    where = replace(system(on), machine=everything_set(system(on).machine))
    held = mq.deployment(model, where, **options)
    traffic = mq.requests(input_tokens=300, output_tokens=20, concurrency=4, requests=20)

    def explanation(at: System) -> str:
        return figures(explained.document(mq.explain(model, at, batch=8, context=600, **options)))

    def simulation(at: System) -> str:
        found = mq.simulate(model, at, traffic=traffic, draws=2, **options)
        return figures(simulated.document(found))

    for ask, energy in ((explanation, False), (simulation, True)):
        unread = named(idle([held], [where], energy=energy))
        every = [p for p, _ in facts(where.machine)]
        assert 0 < len(unread) < len(every)
        assert ask(other(where, unread)) == ask(where)


def test_a_search_knows_no_more_either():
    where = replace(system("h100x2"), machine=everything_set(system("h100x2").machine))
    traffic = mq.requests(input_tokens=300, output_tokens=20, concurrency=4, requests=20)

    def plan(at: System) -> mq.Answer:
        return mq.plan("llama-3.1-8b", at, traffic=traffic, ttft=1.0)

    answer = plan(where)
    unread = named(idle(searched(answer.question), [where]))
    again = plan(other(where, unread))
    assert unread and figures(planned.document(again)) == figures(planned.document(answer))


def test_corners_of_a_space_read_what_all_of_it_reads(monkeypatch):
    """On cards that are bridged in pairs, and joined over the host beyond."""
    where = replace(system("a40x8"), machine=everything_set(system("a40x8").machine))
    traffic = mq.requests(input_tokens=300, output_tokens=20, concurrency=4, requests=20)
    question = Question(mq.model("llama-3.1-8b"), (where,), traffic, Targets())
    few = [*searched(question)]
    monkeypatch.setattr(whatifs, "_corners", lambda o: sorted(o, key=lambda o: o.plan.devices))
    every = [*searched(question)]
    assert len(few) < len(every) and idle(few, [where]) == idle(every, [where])
