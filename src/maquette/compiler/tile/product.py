"""Tilings of products: panels packed once, a register tile, blocks that stay in the caches.

Columns are cut into blocks whose packed panels stay in L2; a strip of rows, as high as a register
tile, passes along each block while it lies in L1.  Sums longer than L2 allows are cut as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, prod

from maquette.compiler.kernel import Kernel, Tensor
from maquette.compiler.processor import Processor
from maquette.compiler.tile.product_form import Product, Unfit, recognise
from maquette.compiler.tiling import Candidate, Counts, Loop, Tile, Tiling
from maquette.ir.scalar import Scalar, flops
from maquette.ir.scalar import reads as reads_of

STRATEGY = "product"


@dataclass(frozen=True)
class Blocks:
    """The numbers of one tiling, over rows, columns and summed points."""

    rows: int  # of a register tile
    vectors: int  # of a register tile
    columns: int  # of a block, a multiple of a register tile's
    chunk: int  # points of a sum packed at once
    sub: int  # points of a sum per pass over a block
    grid: tuple[int, int]  # threads along rows and along columns
    apart: bool  # whether threads take batch points of their own


def candidates(kernel: Kernel, processor: Processor) -> list[Candidate]:
    """Ways to run `kernel` as a product; none where it is not one."""
    try:
        product = recognise(kernel)
        for c in product.contractions:
            for arg in (*reads_of(c.rows), *reads_of(c.columns)):
                product.access(arg)
    except Unfit:
        return []
    return [
        Candidate(tiling(product, blocks), counts(product, blocks, processor))
        for blocks in _choices(product, processor)
    ]


def _choices(product: Product, processor: Processor) -> Iterator[Blocks]:
    m, n = product.extent(product.rows), product.extent(product.columns)
    k = max(product.extent(c.over) for c in product.contractions)
    kinds = len(product.contractions)
    batch = product.extent(product.batch)
    for rows, vectors in register_tiles(processor):
        rows = even(m, rows)
        width = vectors * processor.lanes
        panels = ceil(n / width)
        apart = batch >= processor.threads
        grid = (1, 1) if apart else _grid(ceil(m / rows), panels, processor.threads)
        for chunk in dict.fromkeys((k, even(k, 1536), even(k, 1024))):
            room = processor.l2 * 3 // 4
            held = max(1, min(8, room // (kinds * chunk * width * 4), ceil(panels / grid[1])))
            if held < 3 and chunk > 1024:
                continue
            sub = even(chunk, max(64, processor.l1 // 2 // (4 * rows) // 64 * 64))
            yield Blocks(rows, vectors, held * width, chunk, sub, grid, apart)


def register_tiles(processor: Processor) -> list[tuple[int, int]]:
    """(rows, vectors) that leave room for the vectors of one column and a broadcast."""
    return [((processor.registers - 2 - v) // v, v) for v in (2,)]


def even(total: int, most: int) -> int:
    """The size of equal pieces of `total`, none above `most`.

    >>> even(2816, 1024)
    939
    """
    return ceil(total / ceil(total / most))


def _grid(strips: int, panels: int, threads: int) -> tuple[int, int]:
    """Threads along rows and columns: the fewest tiles on the busiest, columns first."""
    pairs = [(r, threads // r) for r in range(1, threads + 1) if threads % r == 0]
    return min(pairs, key=lambda g: (ceil(strips / g[0]) * ceil(panels / g[1]), g[0]))


def tiling(product: Product, blocks: Blocks) -> Tiling:
    """Blocks as a Tiling: loops over groups of axes, from the outermost in."""
    rows, columns = group(product.rows), group(product.columns)
    over = group(product.contractions[0].over)
    batch = [Loop(a, 1, "parallel" if blocks.apart else "serial") for a in product.batch]
    width = blocks.columns
    loops = (
        *batch,
        Loop(columns, width, "serial" if blocks.apart else "parallel"),
        Loop(over, blocks.chunk, "stream"),
        Loop(rows, blocks.rows, "serial"),
        Loop(over, blocks.sub, "stream"),
    )
    packed = tuple(
        Tile(f"{c.name} {group(product.columns)}", ((over, blocks.chunk), (columns, width)), "l2")
        for c in product.contractions
    )
    registers = {c.name: (blocks.vectors, blocks.rows) for c in product.contractions}
    notes = (f"grid {blocks.grid[0]} x {blocks.grid[1]}",)
    lanes = product.columns[-1] if product.columns else ""
    return Tiling(STRATEGY, lanes, loops, registers, packed, notes)


def blocks_of(product: Product, held: Tiling) -> Blocks:
    """The inverse of `tiling`."""
    columns, over, _, sub = held.loops[-4:]
    vectors, rows = next(iter(held.registers.values()))
    first, _, second = held.notes[0].removeprefix("grid ").partition(" x ")
    grid = (int(first), int(second))
    return Blocks(rows, vectors, columns.step, over.step, sub.step, grid, columns.kind == "serial")


def group(axes: tuple[str, ...]) -> str:
    """Several axes as one, row-major."""
    return "*".join(axes) or "1"


def counts(product: Product, blocks: Blocks, processor: Processor) -> Counts:
    """What one run does: multiply-adds, the rest, and bytes into each tier."""
    batch, m, n = (product.extent(a) for a in (product.batch, product.rows, product.columns))
    width = blocks.vectors * processor.lanes
    strips, panels = ceil(m / blocks.rows), ceil(n / width)
    sums = sum(product.extent(c.over) for c in product.contractions)
    tiles = batch * strips * panels
    packed = 4.0 * batch * sums * (m + n)
    into: Mapping[str, float] = {
        "registers": 4.0 * tiles * sums * (blocks.rows + width),
        "l1": 4.0 * tiles * sums * width + packed,
        "l2": 4.0 * batch * sums * (m * ceil(n / blocks.columns) + n) + packed,
        "l3": compulsory(product.kernel),
    }
    return Counts(
        fma=2.0 * tiles * blocks.rows * width * sums,
        vector=batch * m * n * sum(1 + flops(body) for _, body in product.outputs)
        + batch * sum(product.extent(c.over) * _packing(c.rows, c.columns, m, n) for c in
                      product.contractions),
        traffic=into,  # type: ignore[arg-type]
        iterations=tiles * len(product.contractions) * ceil(blocks.chunk / blocks.sub),
    )  # fmt: skip


def _packing(rows: Scalar, columns: Scalar, m: int, n: int) -> int:
    return m * (1 + flops(rows)) + n * (1 + flops(columns))


def compulsory(kernel: Kernel) -> float:
    """Bytes of all that a kernel reads and writes, each once."""
    return sum(stored(t) for t in (*kernel.inputs, *kernel.outputs))


def stored(tensor: Tensor) -> float:
    """Bytes of the distinct elements of a tensor."""
    seen = [n for n, s in zip(tensor.shape, tensor.strides, strict=True) if s]
    return prod(seen) * tensor.dtype.bytes
