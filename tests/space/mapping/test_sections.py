"""Cuts in time: the best of all, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.errors import InputError
from maquette.ir import build as b
from maquette.ir.graph import Graph
from maquette.models.decoder import program
from maquette.plans.types import Infeasible
from maquette.space.mapping import Mapped, Options, mapped, part
from maquette.space.mapping.whole import mapped_program

PLASTICINE = machine("plasticine")


def chain(count, n=256, d=128, f=512):
    """Products that widen and narrow, each a kernel."""
    x = b.activation("x", n=n, d=d)
    for i in range(count):
        wide = b.dot(x, b.weight(f"up{i}", d=d, f=f), "d")
        x = b.dot(b.tanh(wide), b.weight(f"down{i}", f=f, d=d), "f") + x
    return part(Graph("chain", {"y": x.value}), {})


def with_fabric(chip, **changes):
    facts = {n: replace(getattr(chip.fabric, n), value=v) for n, v in changes.items()}
    return replace(chip, fabric=replace(chip.fabric, **facts))


@pytest.mark.parametrize("launch", [0.0, 1e-5])
def test_cuts_are_the_best_of_all(launch):
    whole = chain(2)
    names = [k.name for k in whole.kernels]
    best = mapped(whole, PLASTICINE, Options(launch=launch, tiles=(8,)))
    tried = []
    for n in range(len(names)):
        for cuts in combinations(names[1:], n):
            asked = Options(launch=launch, tiles=(8,), cuts=cuts)
            found = mapped(whole, PLASTICINE, asked)
            assert [s.kernels[0] for s in found.sections] == [names[0], *cuts]
            tried.append(found.seconds)
    assert best.seconds == pytest.approx(min(tried), rel=1e-6)


def test_a_launch_that_costs_makes_sections_fewer():
    whole = chain(3)
    counts = [
        len(mapped(whole, PLASTICINE, Options(launch=t, tiles=(16,))).sections)
        for t in (0.0, 1e-4, 1.0)
    ]
    assert counts == sorted(counts, reverse=True) and counts[-1] == 1


def test_what_repeats_in_one_section_is_configured_once():
    asked = Options(configure=1e-3, repeats=100)
    found = mapped(chain(1), PLASTICINE, asked)
    assert len(found.sections) == 1 and found.configurations == 0
    assert found.seconds < 1e-4 + 1e-5


def test_fusing_all_moves_a_quarter_of_what_halves_move():
    """SN40L, MICRO 2024, table I: 410.4 operations a byte fused, 102.6 cut before the second gemm.

    The text has no shapes: the ratio is (A + 2s) / A of bytes A at the border and s between, 4.0
    where s is 1.5 A, as here.
    """
    n = 4096
    x, first = b.activation("x", n=n, m=48, k=16), b.weight("w0", k=16, j=48)
    second = b.weight("w1", m=48, o=16)
    y = b.dot(b.dot(x, first, "k") * b.weight("twiddle", m=48, j=48), second, "m")
    whole = part(Graph("monarch", {"y": y.value}), {})
    fused, cut = (
        sum(t.total for s in found.sections for t in s.traffic.values())
        for found in (
            mapped(whole, machine("sn40l"), Options(cuts=c, tiles=(64,))) for c in ((), ("k1",))
        )
    )
    border = 2 * (n * 48 * 32 + 2 * 16 * 48 + 48 * 48)
    assert (fused, cut) == (border, border + 2 * 2 * n * 48 * 48)
    assert cut / fused == pytest.approx(4.0, rel=1e-3)


def test_too_large_even_alone_says_what_is_short_by_how_much():
    small = with_fabric(PLASTICINE, compute=1, rows=1, columns=1)
    found = mapped(chain(1), small, Options(tiles=(8,)))
    assert isinstance(found, Infeasible)
    assert "compute units" in found.reason and found.short_by >= 1


def test_a_tensor_that_no_tile_cuts_must_fit_the_scratchpads():
    x = b.activation("x", n=1 << 14, d=1 << 12)
    y = b.dot(b.dot(x, b.weight("w", d=1 << 12, e=1 << 12), "d"), x, "n")
    found = mapped(part(Graph("square", {"y": y.value}), {}), PLASTICINE, Options(cuts=()))
    assert isinstance(found, Infeasible)
    assert "memory units" in found.reason and found.short_by > 1


def test_weights_of_a_slower_tier_bind_there():
    chip = machine("sn40l")
    layer = part(program(model("llama-3.1-8b")).parts["dense"], {"b": 1, "s": 1, "t": 1024}, 8)
    fast, slow = (mapped(layer, chip, Options(tiers=t)) for t in ({}, {"weight": "ddr"}))
    assert {s.binding for s in slow.sections} == {"ddr bandwidth"}
    ratio = 1.8e12 / 200e9
    cycles = [sum(s.cycles for s in m.sections) for m in (fast, slow)]
    assert cycles[1] / cycles[0] == pytest.approx(ratio, rel=0.05)


def test_a_model_larger_than_its_memory():
    found = mapped_program(
        program(model("llama-3.1-405b")), {"b": 1, "s": 1, "t": 1024}, machine("sn40l"), 8
    )
    assert isinstance(found, Infeasible)
    stored = 2 * 405.85e9 / 8
    assert found.short_by == pytest.approx(stored - 64e9, rel=0.02)


def test_a_token_of_a_whole_model_takes_the_time_of_its_weights_at_least():
    chip = machine("sn40l")
    found = mapped_program(program(model("llama-3.1-8b")), {"b": 1, "s": 1, "t": 1024}, chip, 16)
    assert not isinstance(found, Infeasible)
    assert found.sections == 34  # one launch a layer, one before and one after
    roof = 2 * 7.5e9 / 16 / chip.tiers["hbm"].bandwidth.value
    assert roof < found.seconds < 3 * roof


def test_windows_are_no_longer_than_the_context():
    sizes = {"b": 1, "s": 1, "t": 512}
    found = mapped_program(program(model("gemma-2-9b")), sizes, machine("sn40l"), 8)
    assert found.times["local"] == found.times["full"]
    assert found.parts["local"].seconds == pytest.approx(found.parts["full"].seconds, rel=1e-3)


def test_wrong_choices_are_refused():
    with pytest.raises(InputError, match="no kernel to cut before"):
        mapped(chain(1), PLASTICINE, Options(cuts=("nowhere",)))
    with pytest.raises(InputError, match="no bandwidth"):
        mapped(chain(1), PLASTICINE, Options(tiers={"weight": "moon"}))
    with pytest.raises(InputError, match="has no fabric"):
        mapped(chain(1), machine("h100"))
    with pytest.raises(InputError, match="no number of tiles divides"):
        mapped(chain(1), PLASTICINE, Options(tiles=(7,)))


def test_one_socket_sums_nothing_and_several_do():
    graph = program(model("llama-3.1-8b")).parts["dense"]
    sizes = {"b": 1, "s": 1, "t": 64}
    one, eight = (part(graph, sizes, n) for n in (1, 8))
    assert one.sums == () and eight.sums == (8192.0, 8192.0)
    found = mapped(eight, machine("sn40l"))
    assert isinstance(found, Mapped)
    alone = sum(s.cycles for s in found.sections) / machine("sn40l").fabric.clock.value
    assert found.seconds > alone
