"""Commands on machines that do not run kernel by kernel, as people write them."""

from __future__ import annotations

import pytest

from cli.calling import succeed
from cli.test_bad_input import refused

FEW = ("--for", "chat", "--rate", 1, "--requests", 40, "--draws", 0, "--json")


@pytest.mark.parametrize(
    ("system", "summary", "fastest"),
    [("sn40lx16", "tp16", 2.0), ("cs-3", "tp1", 1.0), ("corsair-server", "tp8", 2.0)],
)
def test_simulate_as_written(system, summary, fastest):
    found = succeed("simulate", "llama-3.1-8b", "--on", system, *FEW).document
    assert found["finished_requests"] == 40
    assert found["plan"]["summary"] == summary and found["engine"].startswith("vendor")
    assert 0.2 < found["tpot_mean_ms"] < fastest
    assert found["usd_per_mtok_output"] is None
    assert found["sensitivity"] is None


def test_plan_across_styles_as_written():
    arguments = ("--on", "sn40lx16,h100x8,cs-3x4", "--for", "chat", "--requests", 200)
    told = succeed("plan", "llama-3.1-70b", *arguments, "--json")
    found = told.document
    assert found["engines"] == ["vendor", "vllm"]
    assert found["winner"]["system"] == "h100-sxmx8"  # dollars decide where they are known
    tried = {o["system"] for o in found["outcomes"]}
    assert tried == {"sn40lx16", "h100-sxmx8", "cs-3x4"}
    assert any("cs-3 has no price" in w for w in found["warnings"])
    assert any("nobody vouches for links.scale_up" in w for w in found["warnings"])


def test_nothing_starts_what_has_no_command():
    arguments = ("--on", "cs-3", "--for", "chat", "--requests", 100, "--json")
    found = succeed("plan", "llama-3.1-8b", *arguments).document
    assert found["winner"]["system"] == "cs-3" and found["launch"] == {}


def test_explain_says_serial_and_what_is_unsure():
    told = succeed("explain", "llama-3.1-8b", "--on", "corsair-server", "--sensitivity").out
    told = " ".join(told.split())
    assert "serial" in told and "launch" not in told
    assert "claimed by the vendor" in told and "Sensitivity to facts nobody vouches for" in told
    plain = succeed("explain", "llama-3.1-8b", "--on", "h100").out
    assert "launch" in plain and "serial" not in plain and "unsure" not in plain


def test_streaming_and_regions_are_said():
    streamed = succeed("explain", "llama-3.1-8b", "--on", "cs-3", "--cold", 1).out
    assert "100% of the weights streamed" in streamed
    assert "6 regions" in succeed("explain", "llama-3.1-8b", "--on", "cs-2", "--regions", 6).out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--on", "h100", "--regions", 2), "is not cut into regions"),
     (("--on", "cs-3", "--regions", 99), "at most one for each"),
     (("--on", "cs-3", "--regions", 4, "--cold", 1), "take turns on the whole wafer"),
     (("--on", "cs-3x2", "--stages", "8,24"), "is cut evenly"),
     (("--on", "cs-3x2", "--tp", 2), "nothing is cut over wafers"),
     (("--on", "corsair", "--weights", "bf16"), "has no bf16 products"),
     (("--on", "h100", "--engine", "vendor"), "does not run on")],
)  # fmt: skip
def test_what_cannot_be_is_said(arguments, words):
    assert words in " ".join(refused("explain", "llama-3.1-8b", *arguments).split())
