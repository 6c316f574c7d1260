"""Each rule of the language, broken once, is reported where and as what it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ir.random_graphs import graphs
from maquette.errors import ProgramError
from maquette.ir import (
    Graph,
    Program,
    axis,
    check,
    check_program,
    make,
    parse,
    verify,
    verify_program,
)
from maquette.ir.build import activation, concat, group_by, indices, scan, state, weight
from maquette.ir.monoids import MONOIDS, Monoid
from maquette.ir.patterns import Input, Map, Reduce, View
from maquette.ir.scalar import Apply, Arg, Lit
from maquette.ir.sizes import size

INPUTS = """\
graph g
  %x: f32[n, d=4] = activation
  %w: f32[d=4] = weight
  %i: i32[n] = index
  %e: f32[e=8] = weight
  %c: f32[e=hit of 8] = activation
  %p: bool[n] = %i < 3
  %y: """

# A definition of %y, and what must be said of it; "" is sound.
RULES = {
    # Maps
    "f32[n, d=4] = %x * %w": "",
    "f32[n] = %x * %w": "operand %x has axis d=4, the domain [n] has not",
    "f32[n, d=5] = %x + 1.0": "operand %x has axis d=4, the domain has d=5; expected one size",
    "f32[n, m=2, d=4] = %x + 1.0": "",  # repeated along m
    "f32[e=hit of 8] = %e * %c": "",  # the rows in use of a table
    "f32[e=8] = %e * %c": "operand %c has axis e=hit of 8, the domain has e=8",
    "f32[n] = %i + m": "no axis 'm' in the domain (known: n)",
    "f32[n, d=4] = %x[f=%i]": "%x is read at a coordinate of 'f', which it lacks (known: n, d)",
    "f32[n] = %x[d=1, d=2]": "%x is read at two coordinates of one axis",
    "f32[n] = %x[d=%i]": "",
    "f32[n] = %x[d=%i * 0.5]": "the coordinate of 'd' is a float; expected a whole number",
    "f32[n] = %w[d=%x[d=1]]": "the coordinate of 'd' is a float",
    "f32[n, n] = %i + 1.0": "axis 'n' occurs 2 times; expected every axis once",
    "f32[n=-3] = 1.0": "axis 'n' has size -3; expected a whole number, 0 or more",
    "f32[n=2.5] = 1.0": "axis 'n' has size 2.5; expected a whole number, 0 or more",
    "f32[e=9 of 8] = 1.0": "axis e=9 of 8 is larger than what it is drawn from",
    # Types
    "f32[n] = where(%p, 1.0, 0)": "",
    "f32[n] = where(%i, 1.0, 0.0)": "where asks an int; expected a bool condition",
    "f32[n] = where(%p, %p, 0.0)": "where chooses between a bool and a number",
    "bool[n] = %p & %i": "and of an int; expected bools",
    "bool[n] = not(%p) | %p == %p": "",
    "bool[n] = %p == %i": "eq of a bool and a number; expected two of a kind",
    "bool[n] = %p < 1": "lt of a bool; expected numbers",
    "f32[n] = %p * 2.0": "mul of a bool; expected numbers (use where, or a cast such as to_f32)",
    "f32[n] = to_f32(%p) * 2.0": "",
    "i32[n] = %i * 0.5": "is declared i32, its body is a float; expected an int body",
    "i32[n] = to_i32(%i * 0.5)": "",
    "f32[n] = %i * 2": "",  # whole numbers are numbers
    "bool[n] = %i": "is declared bool, its body is an int; expected a bool body",
    # Folds
    "f32[n] = add over d: %x": "",
    "f32[d=4] = add over n, n: %x": "combines over ['n', 'n']; expected some axes, each once",
    "f32[n] = add over q: %x": "combines over 'q'; expected an axis (known: n, d)",
    "f32[d=4] = add over d: %x": "has axes [d=4]; expected [n]",
    "f32[n] = add over d: %x, %x": "add combines 1 components, 2 are given",
    "f32[n] = and over d: %x": "and of a float; expected bools",
    "bool[] = and over n: %p": "",
    "i32[] = add over n: %x": "is declared i32, it combines f32",
    "f32[] = add over n: %p": "add of a bool; expected numbers",
    "f32[n, d=4] = max along n: %x": "",
    "f32[n, d=4] = max along f: %x": "scans along 'f'; expected an axis",
    "f32[n] = max along n: %x": "has axes [n]; expected [n, d=4]",
    "f32[n, d=4] = affine along n: %x, %w": "output 'y' has 2 components",
    # FlatMaps and groups
    "i32[n, k=2] = top k=2 along d: %x": "",
    "i32[k=2, n] = top k=2 along d: %x": "",
    "i32[n] = top k=2 along d: %x": "has axes [n]; expected [n, k=2]",
    "f32[n, k=2] = top k=2 along d: %x": "holds positions as f32",
    "i32[n, k=2] = top k=2 along f: %x": "goes along 'f'; expected an axis (known: n, d)",
    "i32[k=2] = top k=2 along n: %p": "the key %0 of top is bool; expected a number",
    "i32[k=r of n] = where k=r of n along n: %p": "",
    "i32[k=r of 9] = where k=r of 9 along n: %p": "expected k=SIZE of n",
    "i32[k=3] = where k=3 along n: %i": "the key %i of where is i32; expected a bool",
    "f32[n] = group %i into e=3, m=n": "holds positions as f32",
    "i32[n, d=4] = group %x into e=3, m=n": "the key %x is f32; expected whole numbers",
    "i32[n] = group %i into e=3, m=n": "output 'y' has 2 components",
    # Views
    "f32[m=n, d=4] = rename %x: n to m": "",
    "f32[m=n, d=4] = rename %x: f to m": "rename of axis 'f'; expected an axis (known: n, d)",
    "f32[d=n, d=4] = rename %x: n to d": "axis 'd' occurs 2 times",
    "f32[m=3, d=4] = rename %x: n to m": "rename has axes [m=3, d=4]; expected [m=n, d=4]",
    "f32[m=n, d=4] = rename %x: n to m, n to o": "rename names an axis twice",
    "bf16[m=n, d=4] = rename %x: n to m": "is declared bf16, %x is f32; expected the same",
    "f32[n, a=2, b=2] = split %x: d into a, b": "",
    "f32[n, a=2, b=3] = split %x: d into a, b": "split of d=4 into a=2, b=3; expected parts",
    "f32[n, a=2] = split %x: d into a, b": "split into 'b', which the result lacks",
    "f32[a=2, b=4] = split %c: e into a, b": "split of axis e=hit of 8, which is a subset",
    "f32[z=4*n] = merge %x: n, d into z": "",
    "f32[z=n] = merge %x: n, d into z": "merge has axes [z=n]; expected [z=4*n]",
    "f32[n, d=2] = slice %x: d from 2": "",
    "f32[n, d=3] = slice %x: d from 2": "slice [2, 5) of axis d=4; expected a range inside it",
    "f32[n, d=s] = slice %x: d from t": "",  # known once symbols are bound
    "f32[n, f=2] = slice %x: f from 2": "slice of axis 'f'; expected an axis",
    "f32[n, d=8] = concat %x, %x: along d": "",
    "f32[n, d=9] = concat %x, %x: along d": "concat has axes [n, d=9]; expected [n, d=8]",
    "f32[n, d=8] = concat %x, %w: along d": "concat of [n, d=4] and [d=4]; expected the same axes",
    "f32[n, d=4] = rename %x, %x: n to m": "rename of 2 values; expected one value",
    "f32[n, d=4] = item 0 of %x": "item of %x, which has one component",
}


@pytest.mark.parametrize("definition", RULES)
def test_rules(definition):
    faults = verify(parse(f"{INPUTS}{definition}\n  return y=%y"))
    expected = RULES[definition]
    if not expected:
        assert faults == ()
    else:
        assert expected in "\n".join(map(str, faults))
        assert all(f.where.startswith("g") for f in faults)


def only(value, **outputs):
    return [f.what for f in verify(Graph("g", {"y": value, **outputs}))]


X = activation("x", n="n", d=4)


def test_symbols_are_names():
    odd = make(Input, axes=(axis("n", "2 b"),), dtype="f32", name="x", role="weight")
    assert only(odd) == ["'2 b' in the size of axis 'n' is no name"]
    local = make(Input, axes=(axis("n", size(8) / "r/g8"),), dtype="f32", name="x", role="weight")
    assert only(local) == []


def test_bodies_that_cannot_be_written_as_text():
    def mapped(body):
        return only(make(Map, axes=X.axes, dtype="f32", args=(X.value,), body=body))

    assert mapped(Arg(3)) == ["no operand 3"]
    assert mapped(Apply("fma", (Arg(0),))) == ["unknown operation 'fma'"]
    assert mapped(Apply("add", (Arg(0),))) == ["add of 1 operands"]
    assert mapped(Apply("exp", (Apply("add", (Arg(1),)),))) == ["add of 1 operands", "no operand 1"]


def test_views_that_cannot_be_written_as_text():
    parts = {"axes": X.axes, "dtype": "bf16", "args": (X.value,)}
    assert only(make(View, kind="slice", names=("d",), start=None, **parts)) == [
        "slice has no start"
    ]
    assert only(make(View, kind="rename", names=(), start=size(1), **parts)) == [
        "rename has a start, 1"
    ]
    assert only(make(View, kind="slice", names=("d", "n"), start=size(0), **parts)) == [
        "slice names 2 axes"
    ]


def test_monoids_that_are_none():
    bad = Monoid("half", (Lit(0.0), Lit(0.0)), (Arg(0),))
    parts = {"axes": (), "dtype": "bf16", "over": ("n", "d")}
    assert only(make(Reduce, monoid=bad, args=(X.value, X.value), **parts))[0] == (
        "monoid half has 2 identities, 1 combines"
    )
    wide = replace(MONOIDS["add"], name="wide", combine=(Arg(7),))
    assert only(make(Reduce, monoid=wide, args=(X.value,), **parts)) == ["no operand 7"]
    test = replace(MONOIDS["add"], name="test", combine=(Apply("lt", (Arg(0), Arg(1))),))
    assert only(make(Reduce, monoid=test, args=(X.value,), **parts)) == [
        "component 0 of test is a float, its combine is a bool"
    ]


def test_sizes_in_which_symbols_disagree():
    other = activation("z", n="n", d=5)
    parts = {"axes": (), "dtype": "bf16", "over": ("n", "d"), "monoid": MONOIDS["affine"]}
    found = only(make(Reduce, args=(X.value, other.value), **parts))
    assert "axis 'd' has size 4 and size 5" in found


def test_components_must_be_taken_apart():
    pair = scan(MONOIDS["affine"], "n", X, X)[0].value.operands[0]
    read = make(Map, axes=X.axes, dtype="bf16", args=(pair,), body=Arg(0))
    assert only(read) == ["reads %0, which has 2 components"]
    items = {"kind": "item", "args": (pair,), "names": ()}
    assert only(make(View, axes=X.axes, dtype="bf16", start=size(2), **items)) == ["item 2 of %0"]
    assert only(make(View, axes=X.axes[:1], dtype="bf16", start=size(1), **items)) == [
        "item 1 has axes [n]"
    ]
    assert only(make(View, axes=X.axes, dtype="f32", start=size(1), **items)) == [
        "item 1 is declared f32"
    ]
    key = indices("key", n="n")
    _, members = group_by(key, axis("e", 3), axis("m", "n"))
    assert only(members.value) == []


def test_inputs_of_one_name_are_one_input():
    other = activation("x", n="n", d=3)
    assert only(X.value, z=other.value) == ["two inputs are called 'x', [n, d=4] and [n, d=3]"]
    floating = make(Input, axes=(), dtype="f32", name="i", role="index")
    assert only(floating) == ["is an index of f32"]


def test_states_keep_their_shape_or_grow_along_one_axis():
    held = state("k", b="b", t="c", d=4)
    new = activation("new", b="b", t="s", d=4)
    grown = concat("t", held, new)
    assert verify(Graph("g", {"k": grown.value})) == ()
    renamed = grown.rename(t="u")
    assert verify(Graph("g", {"k": renamed.value})) == ()
    for after in (grown.sum("t"), grown.merge("b", "d", into="z"), new.split("d", a=2, c=2)):
        assert "state 'k' is" in str(verify(Graph("g", {"k": after.value, "y": held.value})))
    whole = indices("n", b="b", t="c", d=4)
    (fault,) = verify(Graph("g", {"k": whole.value, "y": held.value}))
    assert fault.what == "state 'k' is bf16 before the step and i32 after"


def test_symbols_must_be_declared_when_a_list_is_given():
    y = X * weight("w", d=4)
    assert verify(Graph("g", {"y": y.value}), {"n"}) == ()
    (fault,) = verify(Graph("g", {"y": y.value}), {"m"})
    assert str(fault) == "g: %x: symbol 'n' is not declared (known: m)"
    graph = parse("graph g\n %0: f32[n=3] = n + {t - s}\n return y=%0")
    assert [f.what for f in verify(graph, {"t"})] == ["symbol 's' is not declared"]


def test_no_outputs():
    assert [f.what for f in verify(Graph("g", {}))] == ["has no outputs"]


def test_check_raises_all_faults():
    text = INPUTS + "f32[n] = where(%i, %x, %p)\n  %z: f32[n] = %w\n  return y=%y, z=%z"
    with pytest.raises(ProgramError) as error:
        check(parse(text))
    assert [f.where for f in error.value.faults] == ["g: %1", "g: %2"]
    good = Graph("g", {"y": X.value})
    assert check(good) is good


# Programs.


def layer(name="layer", d=4, out=None):
    x = activation("x", n="n", d=d)
    y = x * weight("w", d=d)
    return Graph(name, {out or "x": y.value})


def said(program, symbols=None):
    return [str(f) for f in verify_program(program, symbols)]


def test_sound_programs():
    program = Program("p", {"layer": layer()}, ("layer",) * 3, frozenset({"w"}), {"n": 16}, (8, 2))
    assert said(program, {"n"}) == []
    assert check_program(program) is program


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"order": ()}, "p: has no parts in its order"),
        ({"order": ("layer", "laier")}, "names 'laier', which is no part (did you mean layer?)"),
        ({"parts": {"layer": layer(), "head": layer()}}, "p: part 'head' is never used"),
        ({"shared": frozenset({"v"})}, "p: shared 'v' is no input (known: w, x)"),
        ({"windows": {"t9": 9}}, "p: window 't9' is no symbol of any size (known: n)"),
        ({"experts": (2, 8)}, "p: 8 of 2 experts per token; expected at least 1 and at most all"),
        (
            {"parts": {"layer": layer(), "wide": layer(d=5)}, "order": ("layer", "wide")},
            "p: 'layer' puts out x[n, d=4], 'wide' reads x[n, d=5]; expected the same axes",
        ),
        (
            {"parts": {"layer": layer(out="z")}},
            "p: 'layer' has no output 'x', and 'layer' follows 'layer'",
        ),
        (
            {
                "parts": {"layer": layer(), "wide": layer(d=5)},
                "order": ("layer", "wide"),
                "shared": frozenset({"w"}),
            },
            "p: shared 'w' differs between parts; expected one tensor (layer: weight bf16[d=4], ",
        ),
    ],
)
def test_program_rules(changes, expected):
    program = replace(Program("p", {"layer": layer()}, ("layer", "layer")), **changes)
    assert expected in "\n".join(said(program))
    with pytest.raises(ProgramError):
        check_program(program)


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(graphs(), st.data())
def test_a_wrong_axis_is_always_found(case, data):
    """Giving any computed value one axis more than it has makes a graph unsound."""
    graph, _, _ = case
    outputs = list(graph.outputs.items())
    name, value = data.draw(st.sampled_from(outputs))
    if isinstance(value, Input | Map):  # a Map may repeat along an axis, an input have any
        return
    parts = {f: getattr(value, f) for f in value.__dataclass_fields__}
    wrong = make(type(value), **{**parts, "axes": (*value.axes, axis("extra", 2))})
    assert verify(Graph("mutant", {**graph.outputs, name: wrong}))
