"""Strategy "rows" against NumPy: every tiling it proposes, for every kind of kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette.compiler.kernel import Kernel
from maquette.compiler.tile.rows import candidates
from maquette.errors import NotYet
from maquette.ir.dtypes import dtype
from maquette.ir.monoids import (
    ADD,
    MAX,
)
from maquette.ir.scalar import Arg, Index
from maquette.run.cpp.rows import emit
from maquette.run.host import processor
from run.cpp.meaning import (
    check,
    drawn,
    from_bf16,
    host,
    mapped,
    needs_compiler,
    numbers,
    op,
    reduced,
    tensor,
    tiling,
    to_bf16,
)

A, B, C, D = Arg(0), Arg(1), Arg(2), Arg(3)
WIDTHS = [None, 4]  # of this processor, and the narrowest there is


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
