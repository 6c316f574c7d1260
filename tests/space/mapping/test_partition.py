"""Cutting dataflow to units: legal always, and near an exact solver's answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.errors import InputError
from maquette.space.mapping.partition import (
    Limits,
    Needs,
    Operation,
    Virtual,
    merge,
    needs,
    partition,
)

PLASTICINE = Limits(6, 6, 3, 3, 6)


@st.composite
def graphs(draw, most=12):
    """Operations of one or two operands, each an input or an earlier operation."""
    count = draw(st.integers(1, most))
    made = []
    for i in range(count):
        names = [f"o{j}" for j in range(i)] + ["x", "y", "z"]
        operands = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
        made.append(Operation(f"o{i}", tuple(operands)))
    read = {n for o in made for n in o.operands}
    return Virtual(tuple(made), tuple(o.name for o in made if o.name not in read))


@settings(max_examples=80, deadline=None)
@given(graphs(24))
def test_every_operation_is_in_one_unit_and_no_value_flows_back(whole):
    found = partition(whole, PLASTICINE)
    place = {n: i for i, part in enumerate(found) for n in part}
    assert sorted(n for part in found for n in part) == sorted(whole.by_name)
    assert all(needs(part, whole).within(PLASTICINE) for part in found)
    for o in whole.operations:
        assert all(place[n] <= place[o.name] for n in o.operands if n in place)


def exact(whole: Virtual, limits: Limits) -> int:
    """The fewest units by CP-SAT: operations, streams in and out, no value against the order."""
    cp = pytest.importorskip("ortools.sat.python.cp_model")
    model = cp.CpModel()
    names = list(whole.by_name)
    units = range(len(names))
    at = {n: [model.NewBoolVar(f"{n}@{u}") for u in units] for n in names}
    place = {n: model.NewIntVar(0, len(names) - 1, n) for n in names}
    most = model.NewIntVar(0, len(names) - 1, "last")
    for n in names:
        model.AddExactlyOne(at[n])
        model.Add(place[n] == sum(u * at[n][u] for u in units))
        model.Add(most >= place[n])
    for o in whole.operations:
        for n in o.operands:
            if n in place:
                model.Add(place[n] <= place[o.name])
    for u in units:
        model.Add(sum(at[n][u] for n in names) <= limits.stages)
        arriving, leaving = [], []
        for value in {*names, *(n for o in whole.operations for n in o.operands)}:
            readers = whole.readers.get(value, ())
            into = model.NewBoolVar(f"{value}->{u}")
            for r in readers:
                made = at[value][u] if value in at else 0
                model.Add(into >= at[r][u] - made)
            arriving.append(into)
            if value in at:
                out = model.NewBoolVar(f"{u}->{value}")
                if value in whole.outputs:
                    model.Add(out >= at[value][u])
                for r in readers:
                    model.Add(out >= at[value][u] - at[r][u])
                leaving.append(out)
        model.Add(sum(arriving) <= limits.vector_inputs)
        model.Add(sum(leaving) <= limits.vector_outputs)
    model.Minimize(most)
    solver = cp.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.Solve(model) == cp.OPTIMAL
    return int(solver.ObjectiveValue()) + 1


@settings(max_examples=15, deadline=None)
@given(graphs(9))
def test_no_fewer_units_than_an_exact_solver_and_at_most_one_more(whole):
    limits = Limits(4, 99, 3, 3, 6)
    least = exact(whole, limits)
    assert least <= len(partition(whole, limits)) <= least + 1


def test_an_operation_that_no_unit_can_feed_is_refused():
    wide = Virtual((Operation("o0", ("a", "b", "c", "d")),), ("o0",))
    with pytest.raises(InputError, match="more than a unit has"):
        partition(wide, PLASTICINE)


def test_small_parts_share_units():
    small = Needs(2, 1, 1, 1, 0)
    large = Needs(5, 2, 2, 1, 0)
    found = merge({"a": small, "b": large, "c": small, "d": small}, PLASTICINE)
    assert sorted(map(len, found)) == [1, 3]
    assert ("b",) in found
