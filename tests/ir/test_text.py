"""The printed form: what it looks like, that it reads back, and what its faults say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ir.random_graphs import ONLINE, graphs
from maquette.errors import InputError, MaquetteError
from maquette.ir import (
    Axis,
    Graph,
    Program,
    axis,
    make,
    parse,
    parse_program,
    section,
    show,
    show_program,
    sym,
    verify,
)
from maquette.ir.build import activation, group_by, indices, iota, reduce, tensor, top, weight
from maquette.ir.monoids import MONOIDS, Monoid
from maquette.ir.patterns import Input, Map
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit

MIXTURE = """\
graph mixture
  %x: bf16[n, d=16] = activation
  %router: bf16[d=16, e=8] @route = weight
  %up: bf16[e=8, d=16, f=32] = weight
  %0: bf16[n, d=16, e=8] @route = %x * %router
  %1: bf16[n, e=8] @route = add over d: %0
  %2: i32[n, k=2] @route = top k=2 along e: %1
  %3: i32[n, k=2] @route = group %2 into e=hit of 8, m=2*hit^-1*n of 2*n
  %4: i32[e=hit of 8, m=2*hit^-1*n of 2*n] @route = item 1 of %3
  %5: bf16[d=16, e=hit of 8, m=2*hit^-1*n of 2*n] @"one expert" = %x[n=%4]
  %6: bf16[d=16, e=hit of 8, m=2*hit^-1*n of 2*n, f=32] @"one expert" = %5 * %up
  %7: bf16[e=hit of 8, m=2*hit^-1*n of 2*n, f=32] @"one expert" = add over d: %6
  return y=%7"""


def mixture():
    x, up = activation("x", n="n", d=16), weight("up", e=8, d=16, f=32)
    pairs = sym("n") * 2
    with section("route"):
        chosen = top((x * weight("router", d=16, e=8)).sum("d"), "e", "k", 2)
        _, token, _ = group_by(chosen, axis("e", "hit", 8), axis("m", pairs / "hit", pairs))
    with section("one expert"):
        y = (x.at(n=token) * up).sum("d")
    return Graph("mixture", {"y": y.value})


def same(graph):
    again = parse(show(graph))
    return again.name == graph.name and list(again.outputs.items()) == list(graph.outputs.items())


def mapped(body, *args, axes=("n",), dtype="f32"):
    axes = tuple(axis(a, a) for a in axes)
    return make(Map, axes=axes, dtype=dtype, args=tuple(a.value for a in args), body=body)


def test_it_looks_like_this():
    assert show(mixture()) == MIXTURE
    assert parse(MIXTURE).outputs["y"] is mixture().outputs["y"]


def test_comments_and_blank_lines_are_for_people():
    text = MIXTURE.replace("\n  %0", "\n\n  # who goes where\n  %0").replace(
        "= weight", "= weight # w"
    )
    assert parse(text).outputs["y"] is mixture().outputs["y"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (Apply("sub", (Arg(0), Apply("sub", (Arg(0), Lit(1.0))))), "%x - (%x - 1.0)"),
        (Apply("sub", (Apply("sub", (Arg(0), Arg(0))), Lit(-1))), "%x - %x - -1"),
        (Apply("mul", (Apply("add", (Arg(0), Lit(2))), Arg(0))), "(%x + 2) * %x"),
        (Apply("add", (Apply("mul", (Arg(0), Arg(0))), Index("n"))), "%x * %x + n"),
        (Apply("max", (Arg(0), Lit(float("-inf")))), "max(%x, -inf)"),
        (Apply("add", (Arg(0), Apply("neg", (Lit(1e-5),)))), "%x + neg(1e-05)"),
        (Apply("neg", (Apply("neg", (Arg(0),)),)), "neg(neg(%x))"),
        (Apply("mul", (Arg(0), Extent(sym("t") - sym("s")))), "%x * {t - s}"),
        (Apply("where", (Lit(True), Arg(0), Lit(0))), "where(true, %x, 0)"),
        (
            Apply("lt", (Apply("lt", (Arg(0), Lit(1))), Apply("le", (Arg(0), Lit(2))))),
            "(%x < 1) < (%x <= 2)",
        ),
        (
            Apply("or", (Apply("and", (Lit(True), Lit(False))), Apply("eq", (Arg(0), Arg(0))))),
            "true & false | %x == %x",
        ),
        (Arg(0, (("n", Apply("mod", (Index("n"), Lit(3)))),)), "%x[n=mod(n, 3)]"),
    ],
)
def test_expressions(body, text):
    x = tensor("x", "activation", "f32", n="n")
    graph = Graph("g", {"y": mapped(body, x)})
    assert show(graph).splitlines()[2] == f"  %0: f32[n] = {text}"
    assert same(graph)


def test_operands_in_another_order_than_read_are_listed():
    x, y = activation("x", n="n"), activation("y", n="n")
    swapped = Graph("g", {"z": mapped(Apply("sub", (Arg(1), Arg(0))), x, y)})
    twice = Graph("g", {"z": mapped(Apply("sub", (Arg(0), Arg(1))), x, x)})
    unread = Graph("g", {"z": mapped(Arg(0), x, y)})
    nothing = Graph("g", {"z": mapped(Lit(0.5))})
    assert "map(%x, %y): $1 - $0" in show(swapped)
    assert "map(%x, %x): $0 - $1" in show(twice)
    assert all(map(same, (swapped, twice, unread, nothing)))


@pytest.mark.parametrize(
    "name", ["two words", "3", "item", "é", 'a"b\\', "", "w.q", "true", "#", "\n"]
)
def test_any_name_will_do(name):
    with section(name):
        x = tensor(name, "activation", "f32", n="n")
        axes = (Axis(name, sym("n")),)
        y = make(Map, axes=axes, dtype="i32", args=(), body=Index(name))
    assert same(Graph(name, {name: x.value, "y": y}))


def test_two_inputs_of_one_name_read_back_too():
    x, y = activation("x", n="n"), activation("x", n="n", d=3)
    assert same(Graph("g", {"y": (x * y).value}))


@pytest.mark.parametrize(
    "extent",
    [
        sym("b") * sym("s") * 2 + sym("t") * -3 - 4,
        sym("b") * Fraction(1, 3),
        sym("t") * sym("t") / sym("tp"),
        sym("r/g8") / sym("tp/ep"),
        sym("b") * 1e-7,
        sym("b") - sym("b"),
        sym("of"),
    ],
    ids=str,
)
def test_sizes(extent):
    x = make(Input, axes=(Axis("n", extent, extent + 1),), dtype="f32", name="x", role="weight")
    assert same(Graph("g", {"x": x}))


def test_monoids_of_ones_own_are_written_out():
    t = tensor("x", "activation", "f32", n="n")
    last = Monoid("last", (Lit(0.0),), (Arg(1),), commutative=False)
    mine = replace(MONOIDS["add"], identity=(Lit(0),))  # shadows the one the language knows
    outputs = {
        "a": reduce(ONLINE, ("n",), t, t)[1].value,
        "b": reduce(last, ("n",), t)[0].value,
        "c": reduce(mine, ("n",), t)[0].value,
    }
    graph = Graph("g", outputs)
    assert "  monoid ordered last(0.0): $1\n" in show(graph)
    assert "  monoid add(0): $0 + $1\n" in show(graph)
    assert same(graph)
    with pytest.raises(InputError, match="expected 1 combines, one per identity, not 2"):
        parse(show(graph).replace("last(0.0): $1", "last(0.0): $1, $0"))
    clash = Graph(
        "g", {**outputs, "d": reduce(MONOIDS["add"], ("n",), t)[0].value, "e": outputs["c"]}
    )
    with pytest.raises(MaquetteError, match="two monoids are called 'add'"):
        show(clash)


def test_programs():
    layer, head = mixture(), Graph("a head", {"y": iota("n", "n").value})
    model = Program(
        "two kinds", {"layer": layer, "head": head}, ("layer", "layer", "head", "layer"),
        frozenset({"up", "router"}), {"t128": 128}, (8, 2),
    )  # fmt: skip
    text = show_program(model)
    assert text.startswith(
        'program "two kinds"\n  order layer * 2, head, layer\n  share router, up\n'
        "  window t128 = 128\n  experts 8 choose 2\n\ngraph mixture as layer\n"
    )
    again = parse_program(text)
    assert again == replace(model, parts=again.parts)
    assert {n: dict(g.outputs) for n, g in again.parts.items()} == {
        "layer": layer.outputs, "head": head.outputs,
    }  # fmt: skip
    bare = Program("p", {"a head": head}, ("a head",))
    assert parse_program(show_program(bare)).order == ("a head",)


# What to write instead of what, with ¦ where the fault is, and what is said of it.
FAULTS = [
    ("= top k=2", "= tpo ¦k=2", "found 'k'; expected the end of the line"),
    ("add over d: %0", "¦plus over d: %0", "found 'plus'; expected a monoid (known: add"),
    ("add over d: %0", "¦ad over d: %0", "(did you mean and or add?)"),
    ("over d: %0", "over d ¦%0", "found '%0'; expected ':'"),
    ("over d: %0", "over d: ¦%9", "found '%9'; expected a value defined above"),
    ("bf16[n, e=8]", "¦bf17[n, e=8]", "found 'bf17'; expected a number format"),
    ("%x[n=%4]", "%x[n=%4¦", "the line ends; expected ']'"),
    ("%x * %router", "%x *¦", "the line ends; expected an operand, a number"),
    ("%x * %router", "exp(%x, %router¦)", "found ')'; expected 1 operand of exp, not 2"),
    ("%x * %router", "¦exq(%x)", "found 'exq'; expected an operation (did you mean eq or exp?)"),
    ("%x * %router", "%x ¦? %router", "found '?'; expected the end of the line"),
    ("%x * %router", "%x < 1 ¦< 2", "expected one comparison at a time (use parentheses)"),
    ("%x * %router", "map(%x): ¦$1", "found '$1'; expected an operand $0 … $0"),
    ("%x * %router", "map(): ¦$0", "found '$0'; expected no operand: there are none"),
    ("%x * %router", "-¦%x", "found '%x'; expected a number"),
    ("%1: bf16", "¦%0: bf16", "found '%0'; expected a value not defined above"),
    ("item 1 of", "item ¦-1 of", "found '-'; expected a whole number"),
    ("d=16, e=8]", "d=¦, e=8]", "found ','; expected a number or a symbol"),
    ("d=16, e=8]", "d=1/¦0*n, e=8]", "found '0'; expected a number other than 0"),
    ("[n, k=2] @route = top", "[n, ¦item] @route = top", 'write "item" in quotes'),
    ("graph mixture", "¦grph mixture", "found 'grph'; expected 'graph' and its name"),
    ("graph mixture\n  ", "\n  ¦", "expected 'graph' and its name"),
    ("return y=%7", "return y=%7\n  ¦%8: f32[n] = 1.0", "expected nothing after 'return'"),
    ('@"one expert"', '@¦"one \\q"', "expected a quoted name with JSON escapes"),
]


@pytest.mark.parametrize(("old", "new", "expected"), FAULTS, ids=[n for _, n, _ in FAULTS])
def test_faults_name_the_place_and_what_was_expected(old, new, expected):
    assert old in MIXTURE
    text = MIXTURE.replace(old, new, 1)
    before = text[: text.index("¦")]
    place = f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
    with pytest.raises(InputError) as error:
        parse(text.replace("¦", ""))
    first = error.value.faults[0]
    assert first.where == place
    assert expected in str(first)


def test_a_graph_without_a_last_line():
    with pytest.raises(InputError, match="graph mixture: no outputs; expected a last line"):
        parse(MIXTURE.replace("return y=%7", ""))


def test_all_faults_come_at_once_and_none_twice():
    text = MIXTURE.replace("add over d: %0", "plus over d: %0", 1).replace("item 1", "item x")
    with pytest.raises(InputError) as error:
        parse(text)
    assert [f.where for f in error.value.faults] == ["line 6, column 29", "line 9, column 58"]


def test_a_graph_is_not_a_program():
    with pytest.raises(InputError, match="no program line"):
        parse_program(MIXTURE)
    with pytest.raises(InputError, match="found a program"):
        parse("program p\n  order mixture\n" + MIXTURE)
    with pytest.raises(InputError, match=r"found 2 graphs; expected one graph"):
        parse(MIXTURE + "\n" + MIXTURE)
    with pytest.raises(InputError, match=r"order: there is no graph 'mixtur' \(did you mean"):
        parse_program("program p\n  order mixtur\n" + MIXTURE)
    with pytest.raises(InputError, match="expected order, share, window, experts or graph"):
        parse_program("program p\n  odrer mixture\n" + MIXTURE)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_broken_text_is_refused_politely_or_makes_a_graph(data):
    start = data.draw(st.integers(0, len(MIXTURE) - 1))
    length = data.draw(st.integers(0, 8))
    new = data.draw(st.text(alphabet='%$x0 =[],:@"add\né/*-', max_size=4))
    try:
        graph = parse(MIXTURE[:start] + new + MIXTURE[start + length :])
    except InputError as error:
        assert all(f.where and (f.expected or f.what) for f in error.faults)
    else:
        assert same(graph)
        verify(graph)  # may find faults; must not fail


@settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(graphs(), st.data())
def test_a_missing_word_never_goes_unnoticed(case, data):
    """Leaving a line out of a graph is a fault, for every line but an unused one there is none."""
    lines = show(case[0]).split("\n")
    gone = data.draw(st.integers(0, len(lines) - 1))
    with pytest.raises(InputError):
        parse("\n".join([*lines[:gone], *lines[gone + 1 :]]))


def test_indices_keep_their_role():
    graph = Graph("g", {"y": indices("ids", n="n").value})
    assert "%ids: i32[n] = index" in show(graph)
    assert same(graph)
