"""Strategy "rows" against NumPy: every tiling it proposes, for every kind of kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette.compiler.kernel import Kernel, Stage
from maquette.compiler.tile.rows import candidates
from maquette.errors import NotYet, ProgramError
from maquette.ir.dtypes import dtype
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
    from_bf16,
    mapped,
    needs_compiler,
    op,
    reduced,
    result,
    tensor,
    tiling,
    to_bf16,
)

A, B, C, D = Arg(0), Arg(1), Arg(2), Arg(3)
WIDTHS = [None, 4]  # of this processor, and the narrowest there is


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def moved(old, new):
    """What exponentials below a maximum are multiplied by when it moves."""
    return op("where", op("eq", old, new), 1.0, op("exp", op("sub", old, new)))


def host(lanes):
    return processor() if lanes is None else replace(processor(), lanes=lanes)


def normed(n, t, held="f32"):
    """A residual sum, put out, and its rows scaled to unit mean square."""
    nt = {"n": n, "t": t}
    scale = op("rsqrt", op("add", op("div", B, float(t)), 1e-6))
    return Kernel(
        "normed", nt,
        (tensor("x", nt, held), tensor("r", nt), tensor("w", {"t": t})),
        (tensor("h", nt), tensor("y", nt, held)),
        (
            mapped("h", "nt", op("add", A, B), ["x", "r"]),
            reduced("s", "n", "t", ADD, op("mul", A, A), ["h"]),
            mapped("y", "nt", op("mul", op("mul", A, scale), C), ["h", "s", "w"], held),
        ),
    )  # fmt: skip


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
@pytest.mark.parametrize(("n", "t"), [(5, 1), (18, 77)])
def test_rows_reduced_and_mapped(n, t, lanes):
    kernel = normed(n, t)
    check(kernel, drawn(kernel, np.random.default_rng(0)), host=host(lanes))


@needs_compiler
@pytest.mark.parametrize("held", ["bf16", "f16"])
def test_narrow_floats_are_stored_and_computed_wide(held):
    kernel = normed(5, 53, held)
    x, w = numbers(5, 53), numbers(53)
    x = from_bf16(to_bf16(x)) if held == "bf16" else x.astype(np.float16)
    check(kernel, {"x": x, "r": numbers(5, 53, seed=1), "w": w}, rtol=8e-3)


@needs_compiler
@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize("online", [False, True])
def test_reductions_that_depend_on_reductions(online, lanes):
    x = numbers(7, 133)
    x[0], x[1, :3], x[2, 5] = -np.inf, -np.inf, np.nan
    check(exponentials(7, 133, online), {"x": x}, host=host(lanes))


@needs_compiler
def test_nan_and_infinity_pass_through_as_in_numpy():
    nt = {"n": 4, "t": 37}
    kernel = Kernel(
        "classes", nt, (tensor("x", nt),), (tensor("m", {"n": 4}), tensor("y", nt)),
        (
            reduced("m", "n", "t", MAX, A, ["x"]),
            mapped("y", "nt", op("min", op("max", A, -1.0), 1.0), ["x"]),
        ),
    )  # fmt: skip
    x = numbers(4, 37)
    x[0, 5], x[1, 36], x[2], x[3, 33] = np.nan, np.inf, -np.inf, np.nan
    check(kernel, {"x": x})


@needs_compiler
@pytest.mark.parametrize(("n", "t"), [(0, 5), (5, 0), (0, 0)])
def test_zero_sizes_give_identities(n, t):
    nt = {"n": n, "t": t}
    kernel = Kernel(
        "zero", nt, (tensor("x", nt),), (tensor("y", nt), tensor("m", {"n": n})),
        (
            reduced("m", "n", "t", MAX, A, ["x"]),
            reduced("s", "n", "t", ADD, op("exp", A), ["x"]),
            mapped("y", "nt", op("div", A, B), ["x", "s"]),
        ),
    )  # fmt: skip
    check(kernel, {"x": numbers(n, t)})


@needs_compiler
@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize(("s", "h", "d"), [(3, 2, 64), (5, 3, 20), (2, 1, 7)])
def test_heads_split_and_rotated(s, h, d, lanes):
    def at(place):
        return Arg(0, (("e", op("add", op("mul", Index("h"), d), place)),))

    half = d // 2
    low = op("neg", at(op("add", Index("d"), half)))
    turned = op("where", op("lt", Index("d"), half), low, at(op("sub", Index("d"), half)))
    sd = {"s": s, "d": d}
    kernel = Kernel(
        "rotary", {"h": h, "s": s, "d": d},
        (
            tensor("x", {"s": s, "e": h * d}, strides=(3 * h * d, 1), offset=3),
            tensor("c", sd), tensor("n", sd),
        ),
        (tensor("y", {"h": h, "s": s, "d": d}),),
        (mapped("y", "hsd", op("add", op("mul", at(Index("d")), B), op("mul", turned, C)),
                ["x", "c", "n"]),),
    )  # fmt: skip
    inputs = {"x": numbers(s, h * d), "c": numbers(s, d, seed=1), "n": numbers(s, d, seed=2)}
    check(kernel, inputs, host=host(lanes))


@needs_compiler
@pytest.mark.parametrize("d", [64, 7])
def test_axes_merged(d):
    f = Index("f")
    at = (("h", op("floordiv", f, d)), ("d", op("mod", op("add", f, 3), d)))
    kernel = Kernel(
        "merged", {"s": 5, "f": 3 * d}, (tensor("x", {"h": 3, "s": 5, "d": d}),),
        (tensor("y", {"s": 5, "f": 3 * d}),), (mapped("y", "sf", Arg(0, at), ["x"]),),
    )  # fmt: skip
    check(kernel, {"x": numbers(3, 5, d)})


@needs_compiler
@pytest.mark.parametrize("stride", [1, 2])
def test_windows_with_borders_of_zeros(stride):
    def at(axis, k):
        return op("sub", op("add", op("mul", Index(axis), stride), Index(k)), 1)

    y, x = 6 // stride, 36 // stride
    place = Arg(0, (("y", at("y", "ky")), ("x", at("x", "kx"))))
    kernel = Kernel(
        "windows", {"o": 7, "y": y, "x": x, "c": 5, "ky": 3, "kx": 3},
        (
            tensor("im", {"c": 5, "y": 6, "x": 36}),
            tensor("w", {"o": 7, "c": 5, "ky": 3, "kx": 3}), tensor("b", {"o": 7}),
        ),
        (tensor("out", {"o": 7, "y": y, "x": x}),),
        (
            reduced("s", "oyx", ("c", "ky", "kx"), ADD, op("mul", place, B), ["im", "w"]),
            mapped("out", "oyx", op("max", op("add", A, B), 0.0), ["s", "b"]),
        ),
    )  # fmt: skip
    check(kernel, drawn(kernel, np.random.default_rng(0)), atol=2e-5)


@needs_compiler
def test_rows_gathered_and_zero_outside():
    kernel = Kernel(
        "gathered", {"n": 9, "d": 40},
        (tensor("ids", {"n": 9}, "i32"), tensor("table", {"v": 11, "d": 40})),
        (tensor("y", {"n": 9, "d": 40}),),
        (mapped("y", "nd", Arg(1, (("v", A),)), ["ids", "table"]),),
    )  # fmt: skip
    ids = np.array([0, 10, -1, 11, 3, 3, 5, 1, 2])
    check(kernel, {"ids": ids, "table": numbers(11, 40)})


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
def test_products_with_either_operand_contiguous():
    for w in ({"d": 70, "f": 37}, {"f": 37, "d": 70}):
        kernel = Kernel(
            "product", {"n": 5, "f": 37, "d": 70},
            (tensor("x", {"n": 5, "d": 70}), tensor("w", w), tensor("b", {"f": 37})),
            (tensor("y", {"n": 5, "f": 37}),),
            (
                reduced("p", "nf", "d", ADD, op("mul", A, B), ["x", "w"]),
                mapped("y", "nf", op("max", op("add", A, B), 0.0), ["p", "b"]),
            ),
        )  # fmt: skip
        check(kernel, drawn(kernel, np.random.default_rng(0)), atol=2e-5)


@needs_compiler
def test_weights_of_8_bits_scaled_in_the_product():
    kernel = Kernel(
        "scaled", {"n": 5, "f": 37, "d": 70},
        (tensor("x", {"n": 5, "d": 70}), tensor("w", {"f": 37, "d": 70}, "int8"),
         tensor("s", {"f": 37})),
        (tensor("y", {"n": 5, "f": 37}),),
        (
            reduced("p", "nf", "d", ADD, op("mul", A, op("to_f32", B)), ["x", "w"]),
            mapped("y", "nf", op("mul", A, B), ["p", "s"]),
        ),
    )  # fmt: skip
    w = np.random.default_rng(0).integers(-128, 128, (37, 70))
    check(kernel, {"x": numbers(5, 70), "w": w, "s": numbers(37)}, rtol=1e-4, atol=1e-3)


@needs_compiler
@pytest.mark.parametrize("lanes", WIDTHS)
def test_outputs_transposed_and_of_other_types(lanes):
    nt = {"n": 19, "t": 37}
    kernel = Kernel(
        "types", nt,
        (tensor("x", nt, "f16"), tensor("m", nt, "bool"), tensor("q", {"t": 37}, "int8")),
        (tensor("y", {"t": 37, "n": 19}), tensor("z", nt, "bool"), tensor("w", {"t": 37}, "int8")),
        (
            mapped("y", "nt", op("where", B, op("mul", A, C), -1.0), ["x", "m", "q"]),
            mapped("z", "nt", op("and", A, op("lt", Index("n"), Index("t"))), ["m"], "bool"),
            mapped("w", "t", op("mod", op("mul", A, 3), 5), ["q"], "int8"),
        ),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    inputs = {
        "x": numbers(19, 37).astype(np.float16), "m": rng.integers(0, 2, (19, 37)).astype(bool),
        "q": rng.integers(-128, 128, 37),
    }  # fmt: skip
    check(kernel, inputs, host=host(lanes))


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


@needs_compiler
def test_an_output_may_take_the_place_of_an_input():
    nt = {"n": 5, "t": 77}
    kernel = Kernel(
        "inplace", nt, (tensor("x", nt, buffer="b"), tensor("w", {"t": 77})),
        (tensor("y", nt, buffer="b"),), (mapped("y", "nt", op("mul", A, B), ["x", "w"]),),
    )  # fmt: skip
    check(kernel, {"x": numbers(5, 77), "w": numbers(77)})


@needs_compiler
def test_what_is_larger_than_the_caches_is_written_past_them():
    nt = {"n": 64, "t": 96}
    kernel = Kernel(
        "past",
        nt,
        (tensor("x", nt),),
        (tensor("y", nt),),
        (mapped("y", "nt", op("neg", A), ["x"]),),
    )
    (source, *_) = check(kernel, {"x": numbers(64, 96)}, host=replace(processor(), l2=1 << 10))
    assert "stnt(p1" in source.text
    assert (
        "stnt(p1" not in emit(kernel, candidates(kernel, processor())[0].tiling, processor()).text
    )


def test_a_format_without_code_is_refused():
    n = {"n": 4}
    kernel = Kernel("f", n, (tensor("x", n),), (tensor("y", n),), (mapped("y", "n", A, ["x"]),))
    narrow = replace(kernel.inputs[0], dtype=dtype("mxfp4"))
    with pytest.raises(NotYet, match="mxfp4"):
        emit(replace(kernel, inputs=(narrow,)), tiling(kernel, "n", ("n", 16)), processor())


def test_loops_that_cannot_hold_a_fold_are_refused():
    dn = {"d": 3, "n": 4}
    kernel = Kernel(
        "f", dn, (tensor("x", dn),), (tensor("y", {"d": 3}),),
        (reduced("y", "d", "n", ADD, A, ["x"]),),
    )  # fmt: skip
    with pytest.raises(ProgramError, match="inside a fold across lanes"):
        emit(kernel, tiling(kernel, "n", ("n", 16), ("d", 1)), processor())
