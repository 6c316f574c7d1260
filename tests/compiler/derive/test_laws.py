"""Derived monoids are monoids; spoilt ones are caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.derive.programs import STREAMED, entropy, full, graph, layer_norm, variance
from maquette.compiler.derive import derive, laws
from maquette.ir.monoids import ADD, MAX, MIN, Part, Streamed, streamed
from maquette.ir.scalar import Apply, Arg, Lit


def monoid(program) -> Streamed:
    (found,) = derive(graph(program)).derivations
    assert found.monoid is not None
    return found.monoid


@pytest.mark.parametrize("program", STREAMED, ids=lambda p: p.__name__)
def test_derived_monoids_are_lawful(program):
    for seed in range(3):
        assert laws(monoid(program), np.random.default_rng(seed)) == ()


def op(name, *args):
    return Apply(name, args)


def changes(body):
    """Every body that differs from this one in one place."""
    if isinstance(body, Lit):
        yield Lit(body.value + 1.0)
    elif isinstance(body, Arg):
        yield op("mul", body, Lit(1.5))
        yield op("add", body, Lit(0.5))
    elif isinstance(body, Apply):
        swap = {"sub": "add", "add": "sub", "mul": "add", "div": "mul", "exp": "tanh"}
        if body.op in swap:
            yield Apply(swap[body.op], body.args)
        if body.op == "where":
            yield Apply("where", (body.args[0], Lit(2.0), body.args[2]))
            yield Apply("where", (*body.args[:2], op("mul", body.args[2], Lit(0.9))))
            yield from (Apply("where", (*body.args[:2], c)) for c in changes(body.args[2]))
        else:
            for i, a in enumerate(body.args):
                for c in changes(a):
                    yield Apply(body.op, (*body.args[:i], c, *body.args[i + 1 :]))


def mutants(held: Streamed):
    for i, part in enumerate(held.parts):
        for field in ("factor", "shift"):
            body = getattr(part, field)
            for changed in changes(body) if body is not None else ():
                if changed != body:
                    parts = list(held.parts)
                    parts[i] = replace(part, **{field: changed})
                    yield streamed(held.name, parts)


@pytest.mark.parametrize("program", [full, variance, layer_norm, entropy], ids=lambda p: p.__name__)
def test_spoilt_repairs_are_caught(program):
    held = monoid(program)
    made = list(mutants(held))
    kept = [m for m in made if not laws(m, np.random.default_rng(0))]
    assert len(made) > 10
    # A mutant of a repair can be a repair: scaled differences are cocycles too.
    assert len(kept) <= 0.2 * len(made), [m.parts for m in kept]


@pytest.mark.parametrize(
    ("factor", "law"),
    [
        (op("exp", Arg(0)), "goes nowhere"),
        (op("exp", op("sub", Arg(2), Arg(0))), "identity"),
        (op("add", op("sub", Arg(0), Arg(2)), Lit(1.0)), "A3"),
        (op("exp", op("mul", Arg(0), op("sub", Arg(0), Arg(2)))), "A3"),
    ],
)
def test_the_law_that_fails_is_named(factor, law):
    found = laws(streamed("wrong", [Part(MAX), Part(ADD, factor)]), np.random.default_rng(0))
    assert any(law in what for what in found), found


def test_a_repair_must_pass_through_the_combine():
    negative = streamed("wrong", [Part(ADD), Part(MAX, op("sub", Arg(0), Arg(2)))])
    found = laws(negative, np.random.default_rng(0))
    assert any("A2" in what for what in found)


def test_an_order_that_matters_must_be_said():
    last = replace(ADD, name="last", combine=(Arg(1),), commutative=True)
    held = streamed("wrong", [Part(last)])
    assert "does not commute in component 0" in laws(held, np.random.default_rng(0))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from([MAX, MIN]), st.floats(0.1, 3), st.integers(1, 3), st.integers(0, 10**6),
)  # fmt: skip
def test_generated_monoids_are_lawful(extreme, scale, width, seed):
    """Any number of exponentials and their first moments about one extreme."""
    sign = scale if extreme == MAX else -scale
    n = 1 + 2 * width
    away = op("sub", Arg(0), Arg(n))
    still = op("eq", Arg(0), Arg(n))
    factor = op("where", still, Lit(1.0), op("exp", op("mul", away, Lit(sign))))
    parts = [Part(extreme)]
    for i in range(width):
        weight = Arg(1 + 2 * i)
        none = op("or", still, op("eq", weight, Lit(0.0)))
        moved = op("mul", op("where", none, Lit(0.0), away), weight)
        parts += [Part(ADD, factor), Part(ADD, factor, "mul", op("mul", factor, moved))]
    assert laws(streamed("made", parts), np.random.default_rng(seed)) == ()
