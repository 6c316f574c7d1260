"""``maquette map`` end to end, on a small model."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner

from maquette.cli.main import main

TINY = {
    "model_type": "llama", "vocab_size": 512, "hidden_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 512,
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16",
    "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY))
    return str(path)


def invoked(*arguments: str):
    return CliRunner().invoke(main, ["map", *arguments])


def test_a_layer_is_mapped_simulated_placed_and_drawn(tiny: str, tmp_path: Path) -> None:
    out = tmp_path / "map"
    found = invoked(
        tiny, "--layer", "--on", "sn40l", "--context", "128", "--out", str(out), "--json"
    )
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert document == json.loads((out / "map.json").read_text())
    (part,) = document["parts"]
    assert part["times"] == 2
    assert document["time_us"] == pytest.approx(2 * part["time_us"])
    for section in part["sections"]:
        assert section["simulated_cycles"] == pytest.approx(section["analytic_cycles"], rel=0.1)
        used = sum(s["compute_units"] for s in section["stages"])
        assert section["compute_units"] <= used <= 1040  # small bodies share a unit
        assert section["network_slowdown"] == 1.0
        picture = ElementTree.fromstring((out / f"{section['name']}.svg").read_text())
        shapes = [e.tag.partition("}")[2] for e in picture.iter()]
        assert shapes.count("circle") == 1040
        assert shapes.count("rect") > 1040
    events = json.loads((out / f"{part['name']}.timeline.json").read_text())["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    stages = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert slices and {s["name"] for p in part["sections"] for s in p["stages"]} <= stages
    assert all(e["dur"] >= 0 for e in slices)


def test_the_whole_step_is_every_part_as_often_as_it_runs(tiny: str) -> None:
    document = json.loads(invoked(tiny, "--on", "plasticine", "--context", "64", "--json").stdout)
    names = [p["name"] for p in document["parts"]]
    assert names[0] == "embed" and names[-1] == "head"
    total = sum(p["times"] * p["time_us"] for p in document["parts"])
    assert document["time_us"] == pytest.approx(total)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--on", "h100"), "h100-sxm: has no fabric"),
        (("--on", "sn40l", "--part", "heads"), "did you mean head?"),
        (("--on", "sn40l,sn10"), "2 systems are named"),
        (("--on", "sn40l", "--set", "machine.fabric.compute=5000"), "units on 2080 cells"),
        (("--on", "sn40l", "--tokens", "4", "--context", "3"), "no less than --tokens"),
        (("--on", "sn40lx3", "--layer"), "do not divide over 3 sockets; expected one of 1, 2, 4"),
        (("--on", "plasticine", "--part", "head", "--tokens", "0"), "--tokens"),
    ],
)
def test_what_cannot_be_laid_out(tiny: str, arguments, said: str, capsys) -> None:
    found = invoked(tiny, *arguments)
    assert found.exit_code == 2
    assert said in found.output + capsys.readouterr().err


def test_a_chip_that_is_too_small_says_what_is_short() -> None:
    found = invoked(
        "llama-3.1-8b", "--layer", "--on", "plasticine", "--set", "machine.fabric.memory=4",
        "--set", "machine.fabric.compute=2",
    )  # fmt: skip
    assert found.exit_code == 2
    assert "short by" in found.output


def test_weights_that_do_not_fit_are_streamed_from_the_cold_tier(tiny: str) -> None:
    small = ("machine.hbm.capacity=1 MB", "machine.ddr.capacity=1 GB")
    both = {}
    for name, changes in {"held": (), "streamed": small}.items():
        sets = [word for change in changes for word in ("--set", change)]
        found = invoked(tiny, "--layer", "--on", "sn40l", "--context", "64", *sets, "--json")
        assert found.exit_code == 0, found.output
        (part,) = json.loads(found.stdout)["parts"]
        both[name] = part
    tiers = both["streamed"]["sections"][0]["tiers"]
    weights = 2 * (256 * (256 + 2 * 128 + 256) + 3 * 256 * 512)
    assert tiers["ddr"]["read_bytes"] == pytest.approx(weights, rel=0.01)
    assert "ddr" not in both["held"]["sections"][0]["tiers"]
    assert both["streamed"]["time_us"] > both["held"]["time_us"]


def test_what_fits_no_tier_is_refused(tiny: str, capsys) -> None:
    found = invoked(
        tiny, "--layer", "--on", "sn40l", "--set", "machine.hbm.capacity=1 MB",
        "--set", "machine.ddr.capacity=1 MB",
    )  # fmt: skip
    assert found.exit_code == 2
    assert "do not fit" in found.output + capsys.readouterr().err


def test_layers_of_experts_are_laid_out(tmp_path: Path) -> None:
    """Of 8 experts a token meets two: so many matrices are read, and no more."""
    path = tmp_path / "config.json"
    experts = {"num_local_experts": 8, "num_experts_per_tok": 2, "model_type": "mixtral"}
    path.write_text(json.dumps(TINY | experts | {"architectures": ["MixtralForCausalLM"]}))
    asked = (str(path), "--layer", "--on", "plasticine", "--context", "1", "--json")
    (found,) = json.loads(invoked(*asked).stdout)["parts"]
    read = sum(s["tiers"]["dram"]["read_bytes"] for s in found["sections"])
    assert found["likely_points"] == {"e": 2, "m": 1}
    few = 2 * (256 * (256 + 2 * 128 + 256) + 8 * 256 + 2 * 3 * 256 * 512)
    assert few <= read < 1.1 * few


def test_sockets_say_what_their_sums_take_and_what_nobody_vouches_for(tiny: str) -> None:
    one, two = (
        json.loads(invoked(tiny, "--layer", "--on", on, "--context", "64", "--json").stdout)
        for on in ("sn40l", "sn40lx2")
    )
    assert one["parts"][0]["socket_sums_us"] == 0 < two["parts"][0]["socket_sums_us"]
    assert "links.scale_up.bandwidth" in two["doubtful_facts"]
    assert two["parts"][0]["not_priced"] == ["launching 1 section"]


def test_memory_that_is_always_busy_is_what_binds(tiny: str) -> None:
    found = invoked(tiny, "--part", "head", "--on", "sn40l", "--context", "64", "--json",
                    "--set", "machine.hbm.bandwidth=10 GB/s")  # fmt: skip
    (section,) = json.loads(found.stdout)["parts"][0]["sections"]
    assert section["tiers"]["hbm"]["busy_share"] > 0.9
    assert section["binding"] == "hbm bandwidth"


@pytest.mark.parametrize(
    ("stated", "wrong", "said"),
    [
        ("macs = { value = 256", "macs = { value = 128", "expected the stated 6.38e+14"),
        ('scratchpad = { value = "500 KB"', 'scratchpad = { value = "5 MB"', "the stated 5.2e+08"),
        ("rows = { value = 40", "rows = { value = 4", "units on 208 cells"),
    ],
)
def test_machine_files_whose_units_do_not_add_up(
    tiny: str, tmp_path: Path, stated: str, wrong: str, said: str, capsys
) -> None:
    text = (resources.files("maquette.catalogue") / "machines" / "sn40l.toml").read_text()
    assert text.count(stated) == 1
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(stated, wrong))
    found = invoked(tiny, "--layer", "--on", str(path))
    assert found.exit_code == 2
    assert said in found.output + capsys.readouterr().err


def test_launching_costs_what_is_said(tiny: str) -> None:
    base = (tiny, "--layer", "--on", "plasticine", "--context", "64", "--json")
    free, dear = (json.loads(invoked(*base, *more).stdout) for more in ((), ("--launch", "10us")))
    assert dear["launch_s"] == pytest.approx(1e-5) and free["launch_s"] is None
    (without,), (part,) = free["parts"], dear["parts"]
    assert any("launching" in what for what in without["not_priced"])
    assert not any("launching" in what for what in part["not_priced"])
    # Dearer launches may be worth fewer sections, never more, and are paid for each.
    assert len(part["sections"]) <= len(without["sections"])
    least = without["time_us"] + 10 * len(part["sections"])
    assert part["time_us"] >= 0.99 * least
