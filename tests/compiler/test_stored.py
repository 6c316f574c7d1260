"""What passes made reads back to the last bit, and what is not that is told apart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from compiler.fuse.programs import PROGRAMS, given, graph, weight
from maquette.compiler.alternatives import Alternative, Price
from maquette.compiler.canonical import canonical, names, renamed
from maquette.compiler.fuse import fuse
from maquette.compiler.kernel import Interpreted
from maquette.compiler.stored import faithful, parse_lowered, show_lowered
from maquette.compiler.variants import Written
from maquette.ir.build import dot, top
from maquette.ir.graph import Graph
from maquette.run.specialise import passes


def chosen_rows():
    """Something for the interpreter, something constants decide, and kernels of one form."""
    x, a, b = given("x", n=8, d=16), weight("a", d=16, r=16), weight("b", r=16, e=16)
    y = dot(dot(x, dot(a, b, "r"), "d").rename(e="d") * 0.1, dot(b, a, "r"), "e")
    return Graph("chosen", {"out": y.value, "first": top(y, "d", "k", 2).value})


def read(text, of, constants=()):
    written = Written(of, frozenset(constants))
    return parse_lowered(text, of, lambda variant: passes().algebra(written, variant))


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_are_their_forms_under_their_names(name):
    for kernel in fuse(graph(name)).kernels:
        assert renamed(canonical(kernel), names(kernel)) == kernel
        assert canonical(renamed(kernel, names(canonical(kernel)))) == canonical(kernel)


@pytest.mark.parametrize("name", ["causal", "scan", "rotary"])
def test_what_was_lowered_reads_back(name):
    made = passes().lower(graph(name))
    text = show_lowered(made)
    assert faithful(text, made)
    found = read(text, made.graph)
    assert (found.flow, found.tiled, found.alternatives) == (
        made.flow, made.tiled, made.alternatives
    )  # fmt: skip
    assert found.stages() == made.stages()


def test_what_numpy_runs_and_what_constants_decide_reads_back():
    made = passes().lower(chosen_rows(), {}, {"a", "b"})
    assert any(isinstance(k, Interpreted) for k in made.flow.kernels) and made.once.outputs
    text = show_lowered(made)
    assert faithful(text, made)
    assert read(text, made.graph, {"a", "b"}).stages() == made.stages()


def test_layers_are_written_once():
    x = given("x", n=8, d=16)
    for i in range(20):
        x = dot(x.rename(d="e"), weight(f"w{i}", e=16, d=16), "e")
    made = passes().lower(Graph("deep", {"out": x.value}))
    held = json.loads(show_lowered(made))
    assert len(held["kernels"]) == len(made.flow.kernels) >= 20
    assert len(held["forms"]) <= 2


def test_what_cannot_be_told_in_text_is_told_apart():
    made = passes().lower(graph("softmax"))
    unlike = Alternative("loops", (("a", Price(0, float("nan"))),), "a")
    odd = replace(made, alternatives=(unlike,))
    assert not faithful(show_lowered(odd), odd)
    assert not faithful(show_lowered(replace(made, tiled=(None,) * len(made.tiled))), made)
    assert not faithful("{}", made) and not faithful("", made) and not faithful("[1]", made)


@pytest.mark.parametrize("damage", ["flow", "forms", "kernels", "once", "variant"])
def test_a_document_that_lacks_something_is_refused(damage):
    made = passes().lower(graph("softmax"))
    held = json.loads(show_lowered(made))
    text = json.dumps({k: v for k, v in held.items() if k != damage})
    with pytest.raises(LookupError):
        read(text, made.graph)
