"""What is done with the results of a register tile while they are in cache."""

from __future__ import annotations

from maquette.compiler.tile.access import Access
from maquette.compiler.tile.product_form import Product
from maquette.ir.scalar import Arg
from maquette.ir.scalar import reads as reads_of
from maquette.run.cpp.product_body import Statements, Typed, converted, stored_type
from maquette.run.cpp.product_pack import Names, read, split
from maquette.run.cpp.vector import ctype


def finish(product: Product, rows: int) -> str:
    """``finish(b, batch, s, rows, panel, c0, …)``: outputs of one tile from its contractions."""
    names = Names(tuple(product.kernel.extents))
    inputs, outputs = product.kernel.inputs, product.kernel.outputs
    used = {a.number for _, body in product.outputs for a in reads_of(body)}
    pointers = [
        f"const {ctype(t.dtype)} *const p{i} = (const {ctype(t.dtype)} *)b[{i}];"
        for i, t in enumerate(inputs)
        if i in used
    ]
    pointers += [
        f"{ctype(t.dtype)} *const q{i} = ({ctype(t.dtype)} *)b[{len(inputs) + i}];"
        for i, t in enumerate(outputs)
    ]
    last = product.columns[-1] if product.columns else ""
    limits = ["LANES", "N - at", "W - v"]
    if len(product.columns) > 1:
        limits.append(f"{product.kernel.extents[last]}L - {names[last]}")
    tiles = "".join(f", const float *c{i}" for i in range(len(product.contractions)))
    return "\n".join([
        "static inline void finish(void *const *b, long batch, long s, long rows, long panel"
        f"{tiles}) {{",
        *pointers,
        *split("batch", product.batch, product, names),
        "for (long r = 0; r < rows; ++r) {",
        f"const long row = s * {rows} + r;",
        *split("row", product.rows, product, names),
        "for (long v = 0, n; v < W && panel * W + v < N; v += n) {",
        "const long at = panel * W + v;",
        *split("at", product.columns, product, names),
        *([f"n = {limits[0]};"]),
        *(f"if (n > {limit}) n = {limit};" for limit in limits[1:]),
        "if (n == LANES) {", *_stored(product, names, last, True),
        "} else {", *_stored(product, names, last, False),
        "}", "}", "}", "}", "",
    ])  # fmt: skip


def ahead(product: Product, rows: int) -> str:
    """``ahead(b, batch, s, rows, panel)``: fetch the lines that outputs of one tile lie in."""
    names = Names(tuple(product.kernel.extents))
    inputs = len(product.kernel.inputs)
    lines = []
    for i, t in enumerate(product.kernel.outputs):
        at = f"({ctype(t.dtype)} *)b[{inputs + i}] + {names.linear(product.place(t).offset)}"
        lines.append(f"__builtin_prefetch({at}, 1);")
    return "\n".join([
        "static inline void ahead(void *const *b, long batch, long s, long rows, long panel) {",
        *split("batch", product.batch, product, names),
        "for (long r = 0; r < rows; ++r) {",
        f"const long row = s * {rows} + r;",
        *split("row", product.rows, product, names),
        "for (long v = 0; v < W; v += LANES) {",
        "const long at = panel * W + v < N ? panel * W + v : N - 1;",
        *split("at", product.columns, product, names),
        *lines,
        "}", "}", "}", "",
    ])  # fmt: skip


def _stored(product: Product, names: Names, last: str, full: bool) -> list[str]:
    made = Statements(
        lambda a: _read(product, a, names, last, full),
        lambda axis: _index(product, axis, names, last),
    )
    lines = []
    for i, (tensor, body) in enumerate(product.outputs):
        place = product.place(tensor)
        value = converted(made.value(body), "v" + stored_type(tensor.dtype.name))
        lines.append(_store(place, f"q{i}", value, last, names, full))
    return [*made.lines, *lines]


def _store(place: Access, pointer: str, value: str, last: str, names: Names, full: bool) -> str:
    at = f"{pointer} + {names.linear(place.offset)}"
    step = place.along(last)
    if step == 1:
        return f"st({at}, {value});" if full else f"stn({at}, {value}, n);"
    return f"sts({at}, {value}, {step}, n);"


def _read(product: Product, arg: Arg, names: Names, last: str, full: bool) -> Typed:
    if product.tensor(arg.number) is None:
        kind = arg.number - len(product.kernel.inputs)
        at = f"c{kind} + r * LDC + v"
        return (f"ld({at})" if full else f"ldn({at}, n)"), "vf"
    return read(product.access(arg), f"p{arg.number}", last, names, "" if full else "n")


def _index(product: Product, axis: str, names: Names, last: str) -> Typed:
    if product.kernel.extents[axis] == 1:
        return "0L", "i"
    if axis == last:
        return f"(splati((int){names[axis]}) + lane())", "vi"
    return names[axis], "i"
