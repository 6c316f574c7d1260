"""docs/json.md names every key of every document, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.calling import succeed

TEXT = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
FIRST = {"command", "schema", "maquette_version"}
MADE = ("--rate", 5, "--input-tokens", 300, "--output-tokens", 30, "--requests", 30)
ON = ("llama-3.1-8b", "--on", "h100")
LATENCY = re.compile(r"(ttft|tpot|itl|e2e|queue)_(mean|p\d+)_ms")


def documented(command: str) -> set[str]:
    """What stands in the first column of a command's table."""
    section = TEXT.split(f"\n## {command}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def keys(document: dict) -> set[str]:
    """The keys of a document, intervals and percentiles by their stems."""
    found = {k for k in document if not k.endswith(("_low_80", "_high_80"))} - FIRST
    stems = {f"{m[1]}_*" for k in found if (m := LATENCY.fullmatch(k))}
    return {k for k in found if not LATENCY.fullmatch(k)} | stems


@pytest.mark.parametrize(
    "arguments",
    [("simulate", *ON, *MADE), ("plan", *ON, *MADE), ("explain", *ON)],
    ids=lambda a: a[0],
)
def test_documents_are_documented(arguments):
    document = succeed(*arguments, "--json").document
    assert document.keys() >= FIRST
    assert keys(document) == documented(arguments[0])


def test_the_document_of_a_fleet_is_documented():
    few = (
        "--requests",
        8,
        "--draws",
        0,
        "--set",
        "fleet.experts.0.count=400",
    )  # some deployments cannot be
    document = succeed("simulate", "--fleet", "samba-coe", *few, "--json").document
    known = documented("simulate --fleet")
    section = TEXT.split("\n## simulate --fleet\n")[1].split("\n## ")[0]
    assert document.keys() - FIRST == {k for k in known if "[" not in k}
    for part in document["deployments"]:
        inside = [part, *part["systems"], *part.get("nodes", ()), part.get("infeasible", {})]
        stems = {re.sub(r"_(mean|p\d+)_ms$", "_*", k) for keyed in inside for k in keyed}
        assert not {k for k in stems if f"`{k}`" not in section}


def test_documents_of_rows_are_documented(tmp_path):
    lines = ["hardware,engine,version,model,precision,tp,batch,input_tokens,output_tokens,tpot_s"]
    lines += [f"h100-sxm,vllm,0.10,llama-3.1-8b,bf16,1,{b},512,128,0.009" for b in range(1, 7)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "fitted.toml"
    fitted = succeed("calibrate", "--rows", tmp_path, "--out", out, "--all-rows", "--json").document
    assert keys(fitted) == documented("calibrate")
    compared = succeed("validate", "--rows", tmp_path, "--json").document
    assert keys(compared) == documented("validate")


def test_the_documents_of_a_layout_and_of_claims_are_documented():
    laid = succeed(
        "map", "llama-3.2-1b", "--on", "plasticine", "--part", "embed", "--json"
    ).document
    told = succeed("reproduce", "node-tiers", "--json").document
    for name, document, inner in (
        ("map", laid, [laid["parts"][0], *laid["parts"][0]["sections"]]),
        ("reproduce", told, [told["claims"][0], *told["claims"][0]["rows"]]),
    ):
        section = TEXT.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for keyed in (dict.fromkeys(document.keys() - FIRST), *inner):
            units = {k for k in keyed if "units" in k}  # told together
            assert not {k for k in keyed.keys() - units if f"`{k}`" not in section}
