"""``maquette simulate --fleet`` as it is written, and what it refuses."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from cli.calling import call, succeed
from maquette.catalogue.machines import machine

SMALL = ("simulate", "--fleet", "samba-coe", "--requests", 32, "--draws", 0)
CURVE = ("simulate", "--fleet", "samba-coe", "--requests", 32, "--experts")


@pytest.fixture(scope="module")
def document():
    return succeed(*SMALL, "--json").document


def test_document(document):
    d = document
    assert d["command"] == "simulate" and d["experts"] == 150 and d["requests"] == 32
    assert d["largest_expert_gb"] == pytest.approx(13.48, abs=0.01)
    names = [x["name"] for x in d["deployments"]]
    assert names[0] == "SN40L node" and "DGX H100, 8 host links" in names
    for x in d["deployments"]:
        assert x["feasible"] and 0 < x["e2e_p50_ms"] <= x["e2e_p99_ms"]
        assert x["hit_share"] + x["prefetched_share"] + x["copied_share"] == pytest.approx(1)
        assert x["moved_gb"] == pytest.approx(x["copies"] * d["largest_expert_gb"])
        assert x["systems"][0]["times_source"]


def test_the_stronger_baseline_stands_beside_the_published_one(document):
    by_name = {x["name"]: x for x in document["deployments"]}
    for gpu in ("A100", "H100"):
        one, eight = (by_name[f"DGX {gpu}, {n} host link{'s'[: n > 1]}"] for n in (1, 8))
        assert one["copies"] == eight["copies"]
        assert one["switching_share"] > eight["switching_share"]
        assert one["requests_per_s"] < eight["requests_per_s"]


def test_tables(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # a worker of a test run may have inherited it
    out = succeed(*SMALL).out
    for part in ("150 of llama-2-7b", "DGX A100, 8 host links", "ddr to hbm", "switching"):
        assert part in out


def test_what_does_not_fit_is_said():
    done = succeed(*SMALL, "--set", "fleet.experts.0.count=400", "--json")
    node, dgx = done.document["deployments"][0], done.document["deployments"][-1]
    assert node["feasible"] and not dgx["feasible"]
    assert dgx["infeasible"]["unit"] == "GB" and dgx["infeasible"]["short_by"] > 0
    assert any("cannot be" in w for w in done.document["warnings"])


def test_document_is_written(tmp_path):
    done = succeed(*SMALL, "--out", tmp_path)
    assert json.loads((tmp_path / "fleet.json").read_text())["experts"] == 150
    assert "wrote" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("llama-2-7b",), "--fleet and [MODEL]: do not go together"),
        (("--on", "h100"), "--fleet and --on: do not go together"),
        (("--experts", "3", "--html", "x.html"), "one page for many numbers"),
        (("--tp", 2, "--rate", 3), "--fleet and --rate: do not go together"),
        (("--set", "fleet.expert.count=3"), "expert: is not a known key"),
        (("--experts", "3,x"), "'3,x' is no list of numbers"),
        (("--experts", "3", "--draws", "2"), "a curve has no intervals"),
        (("--experts", "3", "--perfetto", "t.json"), "one timeline for many numbers"),
    ],
)
def test_refused(arguments, said):
    done = call("simulate", "--fleet", "samba-coe", *arguments)
    assert done.code == 2 and said in done.err


def test_what_a_fleet_costs_and_its_page(tmp_path):
    """Dollars an hour of all devices, over the tokens of the answers; no price, no cost."""
    done = succeed(*SMALL, "--html", tmp_path / "fleet.html", "--json").document
    mine, dgx = done["deployments"][0], done["deployments"][2]
    assert mine["usd_per_mtok_output"] is None and mine["unpriced_machines"] == ["sn40l"]
    tokens = dgx["output_tokens_per_s"] * dgx["duration_s"]
    spent = dgx["usd_per_hour"] * dgx["duration_s"] / 3600
    assert dgx["usd_per_mtok_output"] == pytest.approx(spent / tokens * 1e6)
    assert dgx["usd_per_mtok"] < dgx["usd_per_mtok_output"]
    assert dgx["usd_per_hour"] == pytest.approx(8 * machine("a100-80gb").price.per_hour.value)
    page = (tmp_path / "fleet.html").read_text()
    for part in ("Deployments", "Latency", "Where the time of nodes goes", "Memory, in experts"):
        assert part in page
    assert "nobody states one" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_curve_over_experts():
    d = succeed(*CURVE, "20,150,400", "--json").document
    assert [p["experts"] for p in d["curve"]] == [20, 150, 400] and "experts" not in d
    few, some, many = (p["deployments"][2] for p in d["curve"])
    assert few["switching_share"] == 0 < some["switching_share"] and not many["feasible"]
    out = succeed(*CURVE, "20,400").out
    assert "GB short" in out and "cannot be" in out


def test_intervals():
    few = ("--requests", 16, "--draws", 2, "--set", "fleet.experts.0.count=400")
    d = succeed("simulate", "--fleet", "samba-coe", *few, "--json").document
    priced, stated, no = d["deployments"][:3]
    assert priced["e2e_p50_ms_low_80"] <= priced["e2e_p50_ms"] <= priced["e2e_p50_ms_high_80"]
    assert priced["e2e_p50_ms_low_80"] < priced["e2e_p50_ms_high_80"]
    assert stated["requests_per_s_low_80"] == pytest.approx(stated["requests_per_s_high_80"])
    assert not no["feasible"] and "e2e_p50_ms_low_80" not in no


def test_show():
    listed = succeed("show", "fleets", "--json").document
    assert "samba-coe" in [f["name"] for f in listed["fleets"]]
    one = succeed("show", "fleet", "samba-coe", "--json").document
    assert one["experts"][0]["count"] == 150 and one["router"]["output_tokens"] == 20
    shown = succeed("show", "fleet", "coe-policies").out
    assert "prefetch = router" in shown and "h100x8, tp 1" in shown
    assert "did you mean samba-coe" in call("show", "fleet", "samba").err


def test_timeline(tmp_path):
    succeed(*SMALL, "--perfetto", tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    names = {e["args"]["name"]: e["pid"] for e in events if e["ph"] == "M"}
    mine = [e for e in events if e["pid"] == names["SN40L node: sn40lx8"] and e["ph"] == "X"]
    runs = sorted((e["ts"], e["ts"] + e["dur"]) for e in mine if e["tid"] == 1)
    assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(runs))
    waits = sum(e["dur"] for e in mine if e["name"].startswith("wait for"))
    assert waits == pytest.approx(sum(e["dur"] for e in mine if e["tid"] == 2))


def test_without_a_fleet_model_and_machines_are_needed():
    done = call("simulate")
    assert done.code == 2 and "MODEL: is missing" in done.err
    assert "--on: is missing" in call("simulate", "llama-2-7b").err
    assert "--experts: counts" in call("simulate", "llama-2-7b", "--experts", 3).err
    assert "did you mean samba-coe" in call("simulate", "--fleet", "sambacoe").err
