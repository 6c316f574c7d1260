"""The machine files, and finding machines and systems by name or path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pace
from maquette.catalogue import machines as catalogue
from maquette.catalogue.loader import read_toml, structure
from maquette.catalogue.machines import machine, names, system, systems
from maquette.errors import InputError, UnknownName
from maquette.machines.checks import check, facts
from maquette.machines.facts import native, ridge, totals
from maquette.machines.types import Machine, System

EVERY = names()

# Ridge points (batch at which decoding leaves the memory roof) worked out by hand beside the
# hardware survey that the files come from; bf16 unless the machine has none.
RIDGES = {
    "a100-40gb": 201,
    "a100-80gb": 153,
    "h100-sxm": 295,
    "h100-pcie": 378,
    "h100-nvl": 214,
    "h200": 206,
    "b100": 219,
    "b200": 281,
    "gb200": 313,
    "l4": 403,
    "l40s": 419,
    "a10g": 117,
    "rtx-4090": 164,
    "rtx-5090": 117,
    "rtx-pro-6000": 301,
    "rtx-pro-6000-workstation": 281,
    "rtx-6000-ada": 379,
    "rtx-a6000": 202,
    "l40": 210,
    "h20": 37,
    "a100-pcie": 161,
    "mi250x": 117,
    "mi300x": 247,
    "mi325x": 218,
    "mi355x": 315,
    "gaudi2": 176,
    "gaudi3": 453,
    "tpu-v4": 229,
    "tpu-v5e": 240,
    "tpu-v5p": 166,
    "tpu-v6e": 560,
    "tpu-v7": 313,
    "trainium2": 230,
    "inferentia2": 232,
    "sn40l": 354,
    "cs-2": 0.38,
    "cs-3": 0.75,
    "corsair": 8,
}


@pytest.mark.parametrize("name", EVERY)
def test_every_file_holds_together(name: str) -> None:
    found = machine(name)
    assert found.name == name
    assert check(found) == ()
    assert found.transfer_from in ("", *EVERY) and found.transfer_from != name
    assert all(f.kind != "what-if" for _, f in facts(found))
    head = (catalogue.FOLDER / f"{name}.toml").read_text("utf-8").splitlines()[0]
    assert head.startswith("# "), "a file opens by saying what the machine is"


@pytest.mark.parametrize("name", sorted(RIDGES))
def test_ridge_points_by_hand(name: str) -> None:
    found = machine(name)
    assert ridge(found, native(found)) == pytest.approx(RIDGES[name], rel=0.015)


def test_the_catalogue_is_complete() -> None:
    survey = """a100-40gb a100-80gb h100-sxm h100-pcie h100-nvl h200 gh200 b100 b200 gb200 b300
    gb300 l4 l40s a10g a40 rtx-4090 rtx-5090 rtx-pro-6000 rtx-pro-6000-workstation rtx-6000-ada
    rtx-a6000 l40 h20 a100-pcie jetson-orin-nano-super jetson-agx-orin mi250x mi300x mi325x
    mi355x gaudi2 gaudi3 xeon-8480 tpu-v4 tpu-v5e tpu-v5p tpu-v6e tpu-v7 trainium2 inferentia2
    sn10 sn30 sn40l sn50 cs-2 cs-3 corsair groq-lpu n150 n300 p150a matx-one etched-sohu
    plasticine"""
    assert set(EVERY) == set(survey.split())


def test_no_two_machines_answer_to_one_name() -> None:
    taken = list(EVERY)
    for name in EVERY:
        found = machine(name)
        taken += [*found.aliases, *found.systems]
    assert len(taken) == len(set(taken))
    assert all(t == t.lower() for t in taken)


def test_the_index_read_from_heads_equals_the_files() -> None:
    full: dict[str, tuple[str, int]] = {}
    for name in EVERY:
        found = machine(name)
        full |= dict.fromkeys(found.aliases, (name, 1))
        full |= {system: (name, a.devices) for system, a in found.systems.items()}
    assert dict(catalogue._index()) == full


@pytest.mark.parametrize(
    ("text", "tier", "stated"),
    [
        ("h100x8", "hbm", 640e9),
        ("mi300x8", "hbm", 1536e9),
        ("gb200-nvl72", "hbm", 13.5e12),
        ("sn40lx8", "sram", 4.16e9),
        ("sn40lx8", "hbm", 512e9),
        ("sn40lx8", "ddr", 12e12),
        ("corsair-server", "sram", 16e9),
    ],
)
def test_totals_that_vendors_state(text: str, tier: str, stated: float) -> None:
    assert totals(system(text))[tier][0] == pytest.approx(stated, rel=0.01)


def test_bandwidth_of_a_rack() -> None:
    rack = system("gb200-nvl72")
    assert totals(rack)["hbm"][1] == pytest.approx(576e12)
    both_ways = 2 * rack.devices * rack.machine.links["scale_up"].bandwidth.value
    assert both_ways == pytest.approx(130e12, rel=0.01)


@pytest.mark.parametrize(
    ("text", "name", "devices"),
    [
        ("h100", "h100-sxm", 1),
        ("h100x8", "h100-sxm", 8),
        ("H100x8", "h100-sxm", 8),
        ("h100-sxmx16", "h100-sxm", 16),
        ("a100-80gb", "a100-80gb", 1),
        ("a100x4", "a100-80gb", 4),
        ("mi300x", "mi300x", 1),
        ("mi300x8", "mi300x", 8),
        ("mi300xx8", "mi300x", 8),
        ("mi355x8", "mi355x", 8),
        ("l40sx4", "l40s", 4),
        ("rtx-4090x2", "rtx-4090", 2),
        ("sn40lx16", "sn40l", 16),
        ("sn40l-node", "sn40l", 8),
        ("sn40l-rackx2", "sn40l", 32),
        ("cs-3x4", "cs-3", 4),
        ("corsair-server", "corsair", 8),
        ("gb200-nvl72", "gb200", 72),
        ("gb200-nvl72x2", "gb200", 144),
        ("tpu-v5ex8", "tpu-v5e", 8),
    ],
)
def test_system_syntax(text: str, name: str, devices: int) -> None:
    found = system(text)
    assert (found.machine.name, found.devices) == (name, devices)


def test_a_system_prints_as_something_that_names_it_again() -> None:
    for text in ("mi300x8", "h100", "gb200-nvl72", "cs-3x4"):
        assert system(system(text).name) == system(text)


def test_several_systems_and_all_their_faults() -> None:
    assert [s.name for s in systems("h200x8, mi300x8,")] == ["h200x8", "mi300xx8"]
    with pytest.raises(InputError) as caught:
        systems("h10x8,b200,h100x0,mi30x8")
    said = str(caught.value)
    assert "h10" in said and "mi30" in said and "h100x0: has 0 devices" in said
    with pytest.raises(InputError, match="no machine is named"):
        systems(" , ")


@pytest.mark.parametrize("text", ["h10x8", "h10", "", "x8", "mi300xx"])
def test_unknown_names_suggest(text: str) -> None:
    with pytest.raises(UnknownName, match=r"did you mean|known:"):
        system(text)


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, "utf-8")
    return str(path)


def test_your_own_file_by_path(tmp_path: Path) -> None:
    whole = (catalogue.FOLDER / "h200.toml").read_text("utf-8").replace('"h200"', '"mine"', 1)
    path = write(tmp_path, whole)
    assert machine(path).name == "mine"
    assert system(path + "x8") == System(machine(path), 8)
    assert system(path).devices == 1
    with pytest.raises(InputError, match="cannot be read"):
        machine("./nothing.toml")


def test_a_file_may_start_from_a_machine(tmp_path: Path) -> None:
    text = """
    like = "h100"
    title = "H100 with twice the L2"
    [tiers.l2]
    capacity = { value = "100 MiB", kind = "what-if", source = "me" }
    """
    found, base = machine(write(tmp_path, text)), machine("h100")
    assert (found.name, found.transfer_from, found.aliases) == ("mine", "h100-sxm", ())
    assert found.tiers["l2"].capacity is not None
    assert found.tiers["l2"].capacity.value == 100 * 2**20
    assert found.tiers["l2"].bandwidth == base.tiers["l2"].bandwidth
    assert found.compute == base.compute
    with pytest.raises(InputError, match=r"mine\.toml: like: .*did you mean"):
        machine(write(tmp_path, 'like = "h10"'))
    with pytest.raises(InputError, match="is not a string"):
        machine(write(tmp_path, "like = 3"))


def test_faults_of_a_users_file_all_at_once(tmp_path: Path) -> None:
    text = (catalogue.FOLDER / "h100-sxm.toml").read_text("utf-8")
    broken = text.replace("1979 TFLOP/s", "3958 TFLOP/s").replace("domain = 8", "domain = 4")
    with pytest.raises(InputError) as caught:
        machine(write(tmp_path, broken))
    where = [f.where for f in caught.value.faults]
    assert where == ["mine.toml: compute.matrix.fp8", "mine.toml: links.scale_up.domain"]
    with pytest.raises(InputError) as caught:
        machine(
            write(tmp_path, text.replace("3.35 TB/s", "3.35 Tb/s").replace("node =", "nodes ="))
        )
    assert len(caught.value.faults) == 3  # bits, nodes unknown, node missing


def test_loading_is_quick_and_light() -> None:
    code = (
        "import sys, time; from maquette.catalogue.machines import system\n"
        "heavy = {'scipy', 'matplotlib', 'rich', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "start = time.process_time(); system('h100x8'); print(time.process_time() - start)"
    )
    best = min(
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
        for _ in range(5)
    )
    assert best < 6 * pace.unit()


def test_a_second_load_is_shared() -> None:
    assert machine("h100") is machine("h100-sxm")


def test_every_file_is_read_by_the_strict_loader_in_little_time() -> None:
    def load_all() -> None:
        for name in EVERY:
            path = catalogue.FOLDER / f"{name}.toml"
            structure(Machine, read_toml(path), path.name)

    assert pace.cpu(load_all, 1) < 150 * pace.unit()
