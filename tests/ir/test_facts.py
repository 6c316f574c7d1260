"""Counts against closed forms, at sizes and as polynomials."""

from __future__ import annotations

import pytest

from maquette.ir import (
    Graph,
    Program,
    axis,
    by_section,
    contraction,
    flops,
    footprint,
    parameters,
    section,
    section_traffic,
    state_size,
    sym,
    work,
)
from maquette.ir.build import (
    activation,
    apply,
    concat,
    group_by,
    indices,
    iota,
    reduce,
    scan,
    silu,
    softmax,
    state,
    tensor,
    top,
    weight,
    where,
)
from maquette.ir.monoids import MONOIDS

B, S, T = sym("b"), sym("s"), sym("t")


def shown(moves):
    return sorted((m.name, m.role, str(m.elements)) for m in moves)


def traffic(graph, *names):
    sections = by_section(graph)
    return section_traffic([v for n in names for v in sections[n]], graph)


# Work.


def test_a_matrix_product_is_two_flops_a_point():
    y = (activation("x", n="n", d=512) * weight("w", d=512, f=2048)).sum("d").value
    found = contraction(y)
    assert found.flops == sym("n") * 2 * 512 * 2048
    assert ([a.name for a in found.rows], [a.name for a in found.columns]) == (["n"], ["f"])
    assert [a.name for a in found.over] == ["d"]
    assert found.matrix
    assert work([y.operands[0], y]).matrix == found.flops
    assert work([y.operands[0], y]).vector == 0 * B


def test_attention_scores_batch_over_groups():
    q, k = activation("q", b="b", s="s", g=8, r=4, k=128), state("k", b="b", t="t", g=8, k=128)
    found = contraction((q * k).sum("k").value)
    assert [a.name for a in found.batch] == ["b", "g"]
    assert [a.name for a in found.rows] == ["s", "r"]
    assert [a.name for a in found.columns] == ["t"]
    assert found.flops == B * S * T * 2 * 8 * 4 * 128


@pytest.mark.parametrize("name", ["square", "row", "maximum", "difference", "one-sided"])
def test_what_no_matrix_unit_takes(name):
    x, y = activation("x", n="n", d=8), weight("y", d=8, f=4)
    value = {
        "square": (x * x).sum("d"),
        "row": (x * weight("z", d=8)).sum("d"),  # each x is used once
        "maximum": (x * y).max("d"),
        "difference": (x - y).sum("d"),
        "one-sided": (x * weight("f", f=4)).sum("d"),  # a scaled sum
    }[name].value
    found = contraction(value)
    assert found is None or not found.matrix
    assert work([value.operands[0], value]).matrix == 0 * B
    assert work([value.operands[0], value]).vector == flops(value) + flops(value.operands[0])


def test_a_product_that_others_need_is_counted_for_them():
    product = activation("x", n="n", d=8) * weight("y", d=8, f=4)
    both = [product.sum("d").value, product.max("f").value]
    points = sym("n") * 8 * 4
    assert work([product.value, *both]).matrix == points * 2
    assert work([product.value, *both]).vector == points * 2  # the product again, and the maxima


def test_scans_and_reductions_cost_their_combine():
    a, u = activation("a", t="t", p=4), activation("u", t="t", p=4)
    assert flops(scan(MONOIDS["affine"], "t", a, u)[0].value.operands[0]) == T * 4 * 3
    assert flops(reduce(MONOIDS["affine"], ("t",), a, u)[0].value.operands[0]) == T * 4 * 3
    assert flops(a.max("t", "p").value) == T * 4


def test_views_positions_and_choices_cost_no_flops():
    x = activation("x", n="n", e=8)
    slot, _, _ = group_by(top(x, "e", "k", 2), axis("e", "hit", 8), axis("m", "m"))
    free = [
        x.rename(e="f"),
        x.split("e", a=2, c=4),
        x.to("f32"),
        slot,
        top(x, "e", "k", 2),
        x.last("n"),
    ]
    assert all(flops(t.value) == 0 * B for t in free)


def test_a_subset_costs_what_is_in_use():
    x, w = activation("x", n="n", d=16), weight("w", e=64, d=16, f=32)
    chosen = indices("chosen", n="n", k=4)
    pairs = sym("n") * 4
    _, token, _ = group_by(chosen, axis("e", "hit", 64), axis("m", pairs / "hit", pairs))
    y = (x.at(n=token) * w).sum("d").value
    assert contraction(y).flops == pairs * 2 * 16 * 32  # however many experts were hit
    assert footprint(w.value, y.operands[0]) == sym("hit") * 16 * 32
    assert footprint(x.value, y.operands[0].args[0]) == sym("n") * 16  # each row, however often


# Footprints.


def test_a_whole_operand():
    x, w = activation("x", n="n", d=8), weight("w", d=8)
    assert footprint(w.value, (x * w).value) == 8 + 0 * B
    assert footprint(x.value, x.sum("d").value) == sym("n") * 8
    assert footprint(x.value, w.sum("d").value) == 0 * B


def test_gathers_touch_their_index_points_times_the_rest():
    table = weight("table", v=1000, d=8)
    ids = indices("ids", b="b", s="s")
    rows = table.at(v=ids).value
    assert footprint(table.value, rows) == B * S * 8
    assert footprint(ids.value, rows) == B * S
    few = weight("few", v=3, d=8)
    assert footprint(few.value, few.at(v=indices("i", n=5)).value) == 24 + 0 * B  # all there is
    assert footprint(few.value, few.at(v=1).value) == 8 + 0 * B


def test_a_rotation_reads_every_element_once():
    x = activation("x", s="s", k=8)
    turned = x.at(k=apply("mod", iota("k", 8) + 4, 8))
    assert footprint(x.value, turned.value) == S * 8


def test_a_sliding_read_touches_what_there_is():
    x = activation("x", s="s")
    window = x.at(s=iota("s", "s") - iota("j", 4)).value
    assert footprint(x.value, window) == S


def test_views_are_looked_through():
    x, y = state("x", t=T - S, d=8), activation("y", s="s", d=8)
    whole = concat("t", x, y.rename(s="t"))
    total = whole.split("d", g=2, k=4).sum("t", "g", "k").value
    assert footprint(x.value, total) == (T - S) * 8
    assert footprint(y.value, total) == S * 8
    cut = x.slice("d", 2, 3).sum("t").value
    assert footprint(x.value, cut) == (T - S) * 3
    merged = x.merge("t", "d", into="n").sum("n").value
    assert footprint(x.value, merged) == (T - S) * 8


def test_a_gather_over_a_concatenation_falls_on_its_parts_in_proportion():
    x, y = state("x", t=T - S, d=8), activation("y", t=S, d=8)
    some = concat("t", x, y).at(t=indices("i", n=2)).value
    share = footprint(x.value, some) + footprint(y.value, some)
    assert share == 16 + 0 * B


# What moves.


def test_a_section_reads_each_value_once_and_writes_what_others_need():
    x = activation("x", n="n", d=8)
    with section("up"):
        h = (x * weight("w", d=8, f=32)).sum("d")
        gate = (x * weight("v", d=8, f=32)).sum("d")
        inner = silu(gate) * h
    with section("down"):
        y = x + (inner * weight("z", f=32, d=8)).sum("f")
    graph = Graph("g", {"x": y.value})
    n = sym("n")
    assert shown(traffic(graph, "up").reads) == [
        ("v", "weight", "256"), ("w", "weight", "256"), ("x", "activation", str(n * 8)),
    ]  # fmt: skip
    assert shown(traffic(graph, "up").writes) == [("up", "activation", str(n * 32))]
    assert shown(traffic(graph, "down").reads) == [
        ("up", "activation", str(n * 32)), ("x", "activation", str(n * 8)), ("z", "weight", "256"),
    ]  # fmt: skip
    assert shown(traffic(graph, "down").writes) == [("x", "activation", str(n * 8))]
    both = traffic(graph, "up", "down")  # fused: what is between them stays inside
    assert shown(both.writes) == [("x", "activation", str(n * 8))]
    assert sorted(m.name for m in both.reads) == ["v", "w", "x", "z"]


def cached():
    x, cache = activation("x", b="b", s="s", d=8), state("keys", b="b", t=T - S, k=4)
    with section("project"):
        q = (x * weight("wq", d=8, k=4)).sum("d")
        new = (x * weight("wk", d=8, k=4)).sum("d")
    keys = concat("t", cache, new.rename(s="t"))
    with section("attend"):
        seen = iota("t", "t") <= iota("s", "s") + (T - S)
        p = softmax(where(seen, (q * keys).sum("k"), float("-inf")), "t")
        y = (p * keys).sum("t")
    return Graph("g", {"y": y.value, "keys": keys.value})


def test_a_cache_is_read_where_it_was_and_only_the_new_is_written():
    graph = cached()
    project, attend = traffic(graph, "project"), traffic(graph, "attend")
    assert shown(project.writes) == [
        ("keys", "state", str(B * S * 4)), ("project", "activation", str(B * S * 4)),
    ]  # fmt: skip
    assert shown(attend.reads) == [
        ("keys", "state", str(B * (T - S) * 4)),  # once, though scores and values both read it
        ("project", "activation", str(B * S * 4)),
        ("project", "activation", str(B * S * 4)),
    ]
    assert shown(attend.writes) == [("y", "activation", str(B * S * 4))]


def test_positions_and_masks_move_nothing_wherever_they_are_made():
    x = activation("x", s="s", t="t")
    with section("mask"):
        seen = iota("t", "t") <= iota("s", "s")
    with section("use"):
        y = where(seen, x, 0.0)
    graph = Graph("g", {"y": y.value})
    assert traffic(graph, "mask").writes == ()
    assert shown(traffic(graph, "use").reads) == [("x", "activation", "s*t")]


def test_an_item_is_read_apart_from_its_siblings():
    a, u = activation("a", t="t"), activation("u", t="t", p=4)
    with section("scan"):
        _, h = scan(MONOIDS["affine"], "t", a, u)
    with section("use"):
        y = apply("tanh", h)
    graph = Graph("g", {"y": y.value})
    assert shown(traffic(graph, "scan").writes) == [("scan", "activation", "4*t")]
    assert shown(traffic(graph, "use").reads) == [("scan", "activation", "4*t")]


def test_sections_hold_patterns_in_order_and_nothing_else():
    sections = by_section(cached())
    assert sorted(sections) == ["attend", "project"]
    for values in sections.values():
        place = {v: i for i, v in enumerate(values)}
        assert all(place[o] < place[v] for v in values for o in v.operands if o in place)
    assert {type(v).__name__ for vs in sections.values() for v in vs} == {"Map", "Reduce"}


def test_formats_travel_with_moves():
    y = tensor("x", "activation", "f32", n=4) * weight("w", n=4)
    found = section_traffic([y.value], Graph("g", {"y": y.value}))
    assert {m.name: m.dtype.name for m in found.reads} == {"x": "f32", "w": "bf16"}


# Programs.


def test_shared_tensors_count_once_and_others_every_time():
    embed = Graph("embed", {"x": weight("table", v=100, d=8).at(v=indices("ids", n="n")).value})
    x = activation("x", n="n", d=8)
    mixed = concat("t", state("kept", t=T - S, d=8), (x * weight("w", d=8)).rename(n="t"))
    layer = Graph("layer", {"x": (x * weight("w", d=8)).value, "kept": mixed.value})
    head = Graph("head", {"logits": (x * weight("table", v=100, d=8)).sum("d").value})
    parts = {"embed": embed, "layer": layer, "head": head}
    order = ("embed", *["layer"] * 5, "head")
    model = Program("m", parts, order, shared=frozenset({"table"}))
    assert parameters(model).constant == 100 * 8 + 5 * 8
    assert state_size(model) == (T - S) * 8 * 5
    untied = Program("m", parts, order)
    assert parameters(untied).constant == 2 * 100 * 8 + 5 * 8
