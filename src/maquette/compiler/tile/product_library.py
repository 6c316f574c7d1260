"""Products whose multiply-adds a library of the host does: matrices it can take as they lie.

Each contraction is one call (one per batch point); what is done with the results is a pass after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile.access import Access
from maquette.compiler.tile.product import compulsory, group, stored
from maquette.compiler.tile.product_form import Contraction, Product, Unfit, recognise
from maquette.compiler.tiling import Candidate, Counts, Loop, Tiling
from maquette.ir.scalar import Arg, Scalar, flops

STRATEGY = "library"
LARGE = 1 << 26  # flops of one call below which its threads cost more than they bring


@dataclass(frozen=True)
class Matrix:
    """An operand as the library takes it: where, the step between its lines, whether transposed."""

    number: int
    access: Access
    step: int
    transposed: bool


def candidates(kernel: Kernel, processor: Processor) -> list[Candidate]:
    """The way to run `kernel` by calls of a library; none where operands do not lie right."""
    try:
        product = recognise(kernel)
        for c in product.contractions:
            matrices(product, c)
    except Unfit:
        return []
    batch, m, n = (product.extent(a) for a in (product.batch, product.rows, product.columns))
    sums = sum(product.extent(c.over) for c in product.contractions)
    if min(m, n) < 16 or (batch > 1 and 2 * m * n * sums < LARGE):
        return []
    work = batch * m * n
    passed = 0.0 if plain(product) else 4.0 * work * (1 + len(product.contractions))
    # A line is read before it is written: ordinary stores, and the library's are, move it twice.
    moved = compulsory(kernel) + sum(stored(t) for t in kernel.outputs)
    counts = Counts(
        fma=2.0 * work * sums,
        vector=0.0 if plain(product) else work * sum(1 + flops(b) for _, b in product.outputs),
        traffic={"l1": passed + moved, "l2": passed + moved, "l3": moved},
        launches=batch * len(product.contractions) + (not plain(product)),
    )
    loops = (
        *(Loop(a, 1, "serial") for a in product.batch),
        Loop(group(product.rows), m, "serial"),
        Loop(group(product.columns), n, "serial"),
    )
    notes = ("results stay where the library puts them",) if plain(product) else ("a pass after",)
    return [Candidate(Tiling(STRATEGY, group(product.columns[-1:]), loops, notes=notes), counts)]


def matrices(product: Product, contraction: Contraction) -> tuple[Matrix, Matrix]:
    """Rows and columns of a contraction.  Raises Unfit where the library cannot take them."""
    return (
        _matrix(product, contraction.rows, product.rows, contraction.over),
        _matrix(product, contraction.columns, product.columns, contraction.over),
    )


def _matrix(product: Product, body: Scalar, own: Sequence[str], over: Sequence[str]) -> Matrix:
    if not isinstance(body, Arg):
        raise Unfit("an operand is computed here")
    access = product.access(body)
    if access.guards or access.tensor.dtype.name != "f32":
        raise Unfit(f"{access.tensor.name} is not fp32 as it lies")
    lines, inside = merged(product, access, own), merged(product, access, over)
    if inside == 1 and lines >= product.extent(over):
        return Matrix(body.number, access, lines, False)
    if lines == 1 and inside >= product.extent(own):
        return Matrix(body.number, access, inside, True)
    raise Unfit(f"{access.tensor.name} has no contiguous lines")


def merged(product: Product, access: Access, axes: Sequence[str]) -> int:
    """The stride of several axes as one, row-major.  Raises Unfit where they are not one."""
    step = access.along(axes[-1]) if axes else 1
    held = step
    for outer, inner in zip(reversed(axes[:-1]), reversed(axes[1:]), strict=True):
        held *= product.kernel.extents[inner]
        if access.along(outer) != held:
            raise Unfit(f"{access.tensor.name} has gaps between its lines")
    return step


def in_place(product: Product) -> bool:
    """Whether the first contraction may put its results where the first output goes."""
    tensor, _ = product.outputs[0]
    place = product.place(tensor)
    try:
        lines, inside = (
            merged(product, place, product.rows),
            merged(product, place, product.columns),
        )
    except Unfit:
        return False
    return tensor.dtype.name == "f32" and inside == 1 and lines >= product.extent(product.columns)


def plain(product: Product) -> bool:
    """Whether nothing is done with the results."""
    made = len(product.kernel.inputs)
    return len(product.outputs) == 1 and product.outputs[0][1] == Arg(made) and in_place(product)
