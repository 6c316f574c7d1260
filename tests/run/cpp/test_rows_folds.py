"""Folds and scans of strategy "rows" against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.compiler.kernel import Kernel, Stage
from maquette.errors import ProgramError
from maquette.ir.monoids import (
    ADD,
    AFFINE,
    AND,
    MAX,
    OR,
    Monoid,
    Part,
    streamed,
)
from maquette.ir.scalar import Arg, Index, Lit
from maquette.run.cpp.rows import emit
from maquette.run.host import processor
from run.cpp.meaning import (
    check,
    drawn,
    host,
    mapped,
    moved,
    needs_compiler,
    numbers,
    op,
    reduced,
    result,
    tensor,
    tiling,
)

A, B, C, D = Arg(0), Arg(1), Arg(2), Arg(3)
WIDTHS = [None, 4]  # of this processor, and the narrowest there is


def exponentials(n, t, online):
    """Rows that sum to one, naive or in one pass."""
    nt = {"n": n, "t": t}
    if online:
        monoid = streamed("online", [Part(MAX), Part(ADD, moved(A, C))])
        results = (result("m", "n"), result("l", "n"))
        first = (Stage("reduce", results, ("t",), monoid, (A, Lit(1.0)), ("x",)),)
    else:
        first = (
            reduced("m", "n", "t", MAX, A, ["x"]),
            reduced("l", "n", "t", ADD, op("exp", op("sub", A, B)), ["x", "m"]),
        )
    last = mapped("y", "nt", op("div", op("exp", op("sub", A, B)), C), ["x", "m", "l"])
    return Kernel(
        "exponentials", nt, (tensor("x", nt),), (tensor("y", nt), tensor("m", {"n": n})),
        (*first, last),
    )  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize("online", [False, True])
def test_reductions_that_depend_on_reductions(online, lanes):
    x = numbers(7, 133)
    x[0], x[1, :3], x[2, 5] = -np.inf, -np.inf, np.nan
    check(exponentials(7, 133, online), {"x": x}, host=host(lanes))


@needs_compiler
def test_a_loss_with_a_gather_along_the_folded_axis():
    monoid = streamed("online", [Part(MAX), Part(ADD, moved(A, C))])
    results = (result("m", "n"), result("l", "n"))
    lost = op("sub", op("add", op("log", B), A), Arg(2, (("v", D),)))
    kernel = Kernel(
        "loss", {"n": 6, "v": 53},
        (tensor("x", {"n": 6, "v": 53}), tensor("t", {"n": 6}, "i32")), (tensor("loss", {}),),
        (
            Stage("reduce", results, ("v",), monoid, (A, Lit(1.0)), ("x",)),
            reduced("loss", "", "n", ADD, lost, ["m", "l", "x", "t"]),
        ),
    )  # fmt: skip
    check(kernel, {"x": numbers(6, 53), "t": np.array([3, 52, 0, 7, 7, 20])}, rtol=1e-5)


@needs_compiler
@pytest.mark.parametrize("lanes", WIDTHS)
def test_pairs_and_moments(lanes):
    """Monoids known only by their combine: the place of a maximum, and Chan's moments."""
    first = op("or", op("gt", A, C), op("and", op("eq", A, C), op("le", B, D)))
    place = Monoid(
        "place", (Lit(float("-inf")), Lit(0)), (op("max", A, C), op("where", first, B, D))
    )
    count, gap = op("add", A, D), op("sub", Arg(4), B)
    total = op("max", count, 1.0)
    spread = op("div", op("mul", op("mul", gap, gap), op("mul", A, D)), total)
    moments = Monoid(
        "moments", (Lit(0.0),) * 3,
        (
            count, op("add", B, op("div", op("mul", gap, D), total)),
            op("add", op("add", C, Arg(5)), spread),
        ),
    )  # fmt: skip
    x = numbers(6, 53)
    x[:, 7] = x[:, 40] = 9
    nv = {"n": 6, "v": 53}
    found = (result("m", "n"), result("i", "n", "i32"))
    kernel = Kernel(
        "place", nv, (tensor("x", nv),), (tensor("i", {"n": 6}, "i32"),),
        (Stage("reduce", found, ("v",), place, (A, Index("v")), ("x",)),),
    )  # fmt: skip
    check(kernel, {"x": x}, host=host(lanes))
    found = tuple(result(n, "n") for n in ("c", "mean", "square"))
    kernel = Kernel(
        "moments", nv, (tensor("x", nv),), (tensor("y", nv),),
        (
            Stage("reduce", found, ("v",), moments, (Lit(1.0), A, Lit(0.0)), ("x",)),
            mapped("y", "nv", op("div", op("sub", A, B), op("sqrt", C)), ["x", "mean", "square"]),
        ),
    )  # fmt: skip
    check(kernel, {"x": x + 100}, host=host(lanes), rtol=1e-4, atol=1e-4)


@needs_compiler
def test_a_fold_of_components_with_fewer_axes():
    """Scores, their streaming weights, and a weighted sum with an axis of its own."""
    h, s, t, d = 2, 5, 37, 20
    monoid = streamed(
        "weights", [Part(MAX), Part(ADD, moved(A, D)), Part(ADD, moved(A, D))]
    )  # fmt: skip
    seen = op("le", Index("t"), op("add", Index("s"), 20))
    leaf = op("where", seen, op("mul", A, 0.3), float("-inf"))
    found = (result("m", "hs"), result("l", "hs"), result("o", "hse"))
    kernel = Kernel(
        "weights", {"h": h, "s": s, "t": t, "d": d, "e": d},
        (
            tensor("q", {"h": h, "s": s, "d": d}), tensor("k", {"h": h, "t": t, "d": d}),
            tensor("v", {"h": h, "t": t, "e": d}),
        ),
        (tensor("y", {"h": h, "s": s, "e": d}),),
        (
            reduced("sc", "hst", "d", ADD, op("mul", A, B), ["q", "k"]),
            Stage("reduce", found, ("t",), monoid, (leaf, Lit(1.0), B), ("sc", "v")),
            mapped("y", "hse", op("div", A, B), ["o", "l"]),
        ),
    )  # fmt: skip
    check(kernel, drawn(kernel, np.random.default_rng(0)), atol=1e-5)


@needs_compiler
def test_folds_of_truth_and_counts():
    n, nt = {"n": 6}, {"n": 6, "t": 37}
    kernel = Kernel(
        "truth", nt, (tensor("x", nt),),
        (tensor("p", n, "bool"), tensor("q", n, "bool"), tensor("c", n, "i32")),
        (
            reduced("p", "n", "t", OR, op("gt", A, 1.9), ["x"], "bool"),
            reduced("q", "n", "t", AND, op("lt", A, 2.0), ["x"], "bool"),
            reduced("c", "n", "t", ADD, op("to_i32", op("gt", A, 0.0)), ["x"], "i32"),
        ),
    )  # fmt: skip
    check(kernel, {"x": numbers(6, 37)})


@needs_compiler
@pytest.mark.parametrize("t", [1, 35])
def test_recurrences_and_what_is_summed_from_them(t):
    td, tn, dn = {"t": t, "d": 19}, {"t": t, "n": 4}, {"d": 19, "n": 4}
    leaves = (op("exp", op("mul", A, B)), op("mul", op("mul", A, C), D))
    states = (result("a", "tdn"), result("h", "tdn"))
    kernel = Kernel(
        "states", {"t": t, "d": 19, "n": 4},
        (tensor("dt", td), tensor("rate", dn), tensor("x", td), tensor("b", tn), tensor("c", tn)),
        (tensor("y", td),),
        (
            Stage("scan", states, ("t",), AFFINE, leaves, ("dt", "rate", "x", "b")),
            reduced("y", "td", "n", ADD, op("mul", A, B), ["h", "c"]),
        ),
    )  # fmt: skip
    inputs = {
        "dt": np.abs(numbers(t, 19)), "rate": -np.abs(numbers(19, 4)), "x": numbers(t, 19, seed=1),
        "b": numbers(t, 4, seed=2), "c": numbers(t, 4, seed=3),
    }  # fmt: skip
    across = tiling(kernel, "t", ("d", 1), ("n", 1), ("t", 2 * processor().lanes))
    check(kernel, inputs, atol=1e-5)
    check(kernel, inputs, [across], atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("lanes", WIDTHS)
def test_running_sums_along_and_across_lanes(lanes):
    nt = {"n": 5, "t": 77}
    kernel = Kernel(
        "running", nt, (tensor("x", nt),), (tensor("y", nt),),
        (Stage("scan", (result("y", "nt"),), ("t",), ADD, (A,), ("x",)),),
    )  # fmt: skip
    check(kernel, {"x": numbers(5, 77)}, host=host(lanes), atol=2e-5)


def test_loops_that_cannot_hold_a_fold_are_refused():
    dn = {"d": 3, "n": 4}
    kernel = Kernel(
        "f", dn, (tensor("x", dn),), (tensor("y", {"d": 3}),),
        (reduced("y", "d", "n", ADD, A, ["x"]),),
    )  # fmt: skip
    with pytest.raises(ProgramError, match="inside a fold across lanes"):
        emit(kernel, tiling(kernel, "n", ("n", 16), ("d", 1)), processor())


@needs_compiler
def test_components_whose_axes_are_on_no_chain():
    """Sums along either axis and along both, in one fold."""
    n, f, nf = {"n": 7}, {"f": 20}, {"n": 7, "f": 20}
    results = (result("c", ""), result("s", "f"), result("m", "n"), result("p", "fn"))
    leaves = (Lit(1.0), op("mul", A, B), C, op("mul", C, B))
    kernel = Kernel(
        "centred", {"d": 32, "f": 20, "n": 7},
        (tensor("g", {"d": 32}), tensor("w", f | {"d": 32}), tensor("x", n | {"d": 32})),
        (tensor("y", nf), tensor("s", f)),
        (
            Stage("reduce", results, ("d",), streamed("sums", [Part(ADD)] * 4), leaves,
                  ("g", "w", "x")),
            mapped("r", "n", op("rsqrt", op("add", op("mul", A, A), B)), ["m", "c"]),
            mapped("y", "nf", op("add", op("mul", A, B), C), ["p", "r", "s"]),
        ),
    )  # fmt: skip
    check(kernel, drawn(kernel, np.random.default_rng(0)), atol=2e-5)


@needs_compiler
def test_folds_to_single_numbers_are_shared_by_threads():
    nt = {"n": 150, "t": 131}
    monoid = streamed("online", [Part(MAX), Part(ADD, moved(A, C))])
    results = (result("m", ""), result("l", ""))
    kernel = Kernel(
        "single", nt, (tensor("x", nt),), (tensor("y", nt), tensor("l", {})),
        (
            reduced("s", "", "nt", ADD, op("mul", A, A), ["x"]),
            Stage("reduce", results, ("n", "t"), monoid, (A, Lit(1.0)), ("x",)),
            mapped("y", "nt", op("div", A, op("add", B, C)), ["x", "s", "m"]),
        ),
    )  # fmt: skip
    sources = check(kernel, {"x": numbers(150, 131)}, rtol=2e-5)
    if processor().threads > 1:
        assert "share_s + 16 * thread()" in sources[0].text
