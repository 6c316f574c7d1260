"""C++ for products whose multiply-adds a library does."""

from __future__ import annotations

import hashlib
from math import ceil

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile.product_form import Product, recognise
from maquette.compiler.tile.product_library import Matrix, in_place, matrices, merged, plain
from maquette.compiler.tiling import Tiling
from maquette.run.cpp.product_body import opening
from maquette.run.cpp.product_finish import finish
from maquette.run.cpp.product_pack import Names, split
from maquette.run.cpp.product_text import THREADS
from maquette.run.source import Source

ROWS, VECTORS = 8, 16  # of a tile that is passed over at once

_CALL = """
extern "C" { void (*sgemm_slot)(const char *, const char *, const int *, const int *, const int *,
  const float *, const float *, const int *, const float *, const int *, const float *, float *,
  const int *); }
static void product(char tb, char ta, int n, int m, int k, const float *b, int ldb, const float *a,
                    int lda, float *c, int ldc) {
  const float one = 1, zero = 0;
  sgemm_slot(&tb, &ta, &n, &m, &k, &one, b, &ldb, a, &lda, &zero, c, &ldc);
}
"""


def emit(kernel: Kernel, tiling: Tiling, processor: Processor) -> Source:
    """The source of a product that a library multiplies."""
    product = recognise(kernel)
    m, n = product.extent(product.rows), product.extent(product.columns)
    names = Names(tuple(kernel.extents))
    inside = in_place(product)
    lines = merged(product, product.place(product.outputs[0][0]), product.rows) if inside else n
    if m == 1:
        lines = n
    results, calls, floats = [], [], 0
    for i, c in enumerate(product.contractions):
        if i == 0 and inside:
            place = product.place(product.outputs[0][0])
            own = names.linear(place.offset, [*product.rows, *product.columns])
            start = f"(float *)b[{len(kernel.inputs)}] + {own}"
        else:
            start = f"(float *)b[{len(kernel.inputs) + len(kernel.outputs)}] + {floats}"
            floats += -(-(m * lines + 64) // 16) * 16
        results.append(f"float *const c{i} = {start};")
        calls.append(_call(product, i, names, matrices(product, c), m, n, lines))
    opened = opening(processor.lanes, *(body for _, body in product.outputs))
    width = VECTORS * processor.lanes
    text = "\n".join([
        opened, THREADS, _CALL,
        f"constexpr int W = {width}, LDC = {lines}; constexpr long N = {n};",
        "" if plain(product) else finish(product, ROWS),
        'extern "C" void @SYMBOL@(void *const *b) {',
        f"for (long batch = 0; batch < {product.extent(product.batch)}; ++batch) {{",
        *split("batch", product.batch, product, names),
        *results, *calls,
        "" if plain(product) else _pass(product, processor, m, n, width), "}", "}", "",
    ])  # fmt: skip
    symbol = f"library_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Source(symbol, text.replace("@SYMBOL@", symbol), 4 * floats)


def _call(
    product: Product,
    i: int,
    names: Names,
    operands: tuple[Matrix, Matrix],
    m: int,
    n: int,
    ldc: int,
) -> str:
    rows, columns = operands
    k = product.extent(product.contractions[i].over)
    texts = []
    for held, own in ((columns, product.columns), (rows, product.rows)):
        inner = [*own, *product.contractions[i].over]
        at = f"(const float *)b[{held.number}] + {names.linear(held.access.offset, inner)}"
        # The library counts columns first: a matrix of ours is the transpose of one of its own.
        texts.append((at, max(1, held.step)))
    letters = ("N" if columns.transposed else "T", "T" if rows.transposed else "N")
    (b, ldb), (a, lda) = texts
    return (
        f"product('{letters[0]}', '{letters[1]}', {n}, {m}, {k}, {b}, {ldb}, {a}, {lda},"
        f" c{i}, {ldc});"
    )


def _pass(product: Product, processor: Processor, m: int, n: int, width: int) -> str:
    strips, panels = ceil(m / ROWS), ceil(n / width)
    tiles = "".join(f", c{i} + s * {ROWS} * LDC + p * W" for i in range(len(product.contractions)))
    threads = f"#pragma omp parallel for num_threads({processor.threads})"
    return "\n".join([
        threads if m * n >= 1 << 14 else "",
        f"for (long s = 0; s < {strips}; ++s) {{",
        f"const long rows = {m} - s * {ROWS} < {ROWS} ? {m} - s * {ROWS} : {ROWS};",
        f"for (long p = 0; p < {panels}; ++p) finish(b, batch, s, rows, p{tiles});",
        "}",
    ])  # fmt: skip
