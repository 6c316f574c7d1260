"""Packing: the factors of a contraction, computed once into panels that the multiply-adds stream.

``pack(b, batch, first, n, o0, o1, i0, i1, out, stride)`` writes, for every point of the summed axes
in order, the factor of `n` neighbouring rows (or columns) from `first` on, as one vector; lanes
from `n` on are zero.  The innermost summed axis runs over [i0, i1), all others over [o0, o1).

Vectors lie along the axis in which memory is contiguous: along rows they are stored as they are,
along the summed axis a square of them is transposed in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from maquette.compiler.tile.access import Access
from maquette.compiler.tile.live import Linear
from maquette.compiler.tile.product_form import Contraction, Product
from maquette.ir.scalar import Arg, Scalar
from maquette.ir.scalar import reads as reads_of
from maquette.run.cpp.product_body import Statements, Typed, stored_type
from maquette.run.cpp.vector import ctype

Side = Literal["rows", "columns"]


@dataclass(frozen=True)
class Names:
    """C++ names of the coordinates of a kernel."""

    axes: tuple[str, ...]

    def __getitem__(self, axis: str) -> str:
        return f"x{self.axes.index(axis)}"

    def linear(self, at: Linear, without: Sequence[str] = ()) -> str:
        """A sum of multiples of coordinates."""
        parts = [f"{c} * {self[n]}" for n, c in at.terms if n not in without]
        return " + ".join([f"{at.constant}L", *parts])


def pack(
    product: Product, contraction: Contraction, side: Side, name: str, lanes: int, step: int
) -> str:
    """The function `name` that packs one side; it is called from multiples of `step` on."""
    return _Pack(product, contraction, side, lanes, step).text(name)


class _Pack:
    def __init__(
        self, product: Product, contraction: Contraction, side: Side, lanes: int, step: int
    ) -> None:
        self.product = product
        self.lanes, self.step = lanes, step
        self.names = Names(tuple(product.kernel.extents))
        self.own = product.rows if side == "rows" else product.columns
        self.body: Scalar = contraction.rows if side == "rows" else contraction.columns
        self.outer, self.inner = contraction.over[:-1], contraction.over[-1]
        self.reads = {a: product.access(a) for a in dict.fromkeys(reads_of(self.body))}
        self.across = self._across()

    def _across(self) -> bool:
        """Whether vectors lie along rows (or columns), not along the innermost summed axis."""
        if not self.own:
            return False
        last = self.own[-1]
        extent = self.product.kernel.extents[last]
        if len(self.own) > 1 and extent < self.lanes:
            return False
        ones = [sum(a.along(x) == 1 for a in self.reads.values()) for x in (last, self.inner)]
        return ones[0] > ones[1] or (ones[0] == ones[1] and not self._contiguous())

    def _contiguous(self) -> bool:
        return any(a.along(self.inner) == 1 for a in self.reads.values())

    def text(self, name: str) -> str:
        inside = self._along_own() if self.across else self._along_sum()
        head = (
            f"static void {name}(void *const *b, long batch, long first, int n, long o0, long o1,"
            " long i0, long i1, float *out, const long stride) {"
        )
        pointers = [
            f"const {ctype(t.dtype)} *const p{i} = (const {ctype(t.dtype)} *)b[{i}];"
            for i, t in enumerate(self.product.kernel.inputs)
            if any(a.number == i for a in self.reads)
        ]
        batch = split("batch", self.product.batch, self.product, self.names)
        return "\n".join([head, *pointers, *batch, *inside, "}", ""])

    def _outer_loop(self, inside: list[str]) -> list[str]:
        coordinates = split("o", self.outer, self.product, self.names)
        return ["for (long o = o0; o < o1; ++o) {", *coordinates, *inside, "}"]

    def _along_own(self) -> list[str]:
        """One vector of rows per point of the sum, in pieces where it crosses an outer row."""
        last = self.own[-1]
        x = self.names[self.inner]
        extent = self.product.kernel.extents[last]
        pieces = len(self.own) > 1 and extent % self.step > 0
        loops = []
        for full in (True, False):
            made = Statements(
                lambda a, f=full: self._read(a, last, f, count="m"),  # type: ignore[misc]
                self._lane_index(last),
            )
            value = made.number(self.body, vector=True)
            store = f"st(to, {value if full else f'sel(VI(lane() < m), {value}, V{{}})'});"
            if pieces and not full:
                store = f"if (done) stn(to, {value}, m); else {store}"
            body = [*made.lines, store, "to += stride;"]
            loop = self._outer_loop([f"for (long {x} = i0; {x} < i1; ++{x}) {{", *body, "}"])
            loops.append(loop)
        limit = f"if (m > {extent} - {self.names[last]}) m = {extent} - {self.names[last]};"
        return [
            "for (int done = 0, m = 0; done < n; done += m) {",
            *split("(first + done)", self.own, self.product, self.names),
            "m = n - done;",
            *([limit] if pieces else []),
            "float *to = out + done;",
            *["if (m == LANES) {", *loops[0], "} else {", *loops[1], "}", "}"],
        ]

    def _along_sum(self) -> list[str]:
        """A square of vectors along the sum, one of each row, transposed."""
        lines = [f"long {self.names[a]}_[LANES];" for a in self.own]
        if self.own:
            lines += [
                "for (int l = 0; l < LANES; ++l) {",
                "const long at = first + (l < n ? l : 0);",
            ]
            lines += split("at", self.own, self.product, self.names)
            lines += [f"{self.names[a]}_[l] = {self.names[a]};" for a in self.own]
            lines += ["}"]
        x = self.names[self.inner]
        whole = [
            f"for (; {x} + LANES <= i1; {x} += LANES) {{", "V r[LANES];",
            f"#pragma GCC unroll {self.lanes}", "for (int l = 0; l < LANES; ++l) {",
            *self._row(True), "r[l] = l < n ? y : V{};", "}",
            "transpose(r, out, stride);", "out += LANES * stride;", "}",
        ]  # fmt: skip
        rest = [
            f"if (const int m = i1 - {x}; m > 0) {{", "float t[LANES][LANES];",
            "for (int l = 0; l < n; ++l) {", *self._row(False), "st(t[l], y);", "}",
            "for (int q = 0; q < m; ++q, out += stride)",
            "for (int l = 0; l < LANES; ++l) out[l] = l < n ? t[l][q] : 0;", "}",
        ]  # fmt: skip
        return [*lines, *self._outer_loop([f"long {x} = i0;", *whole, *rest])]

    def _row(self, full: bool) -> list[str]:
        """The vector ``y`` of row ``l`` along the innermost summed axis."""
        made = Statements(
            lambda a: self._read(a, self.inner, full, count="m"), self._lane_index(self.inner)
        )
        value = made.number(self.body, vector=True)
        used = [f"const long {self.names[a]} = {self.names[a]}_[l];" for a in self.own]
        return [*used, *made.lines, f"const V y = {value};"]

    def _lane_index(self, lane: str):  # type: ignore[no-untyped-def]
        def index(axis: str) -> Typed:
            if axis == lane:
                return f"(splati((int){self.names[axis]}) + lane())", "vi"
            if self.product.kernel.extents[axis] == 1:
                return "0L", "i"
            return self.names[axis], "i"

        return index

    def _read(self, arg: Arg, lane: str, full: bool, count: str = "n") -> Typed:
        return read(self.reads[arg], f"p{arg.number}", lane, self.names, "" if full else count)


def read(place: Access, pointer: str, lane: str, names: Names, count: str) -> Typed:
    """A read as text: a vector along `lane`, or a number where nothing varies along it.

    `count` is how many lanes there are, "" where all are.
    """
    at = f"{pointer} + {names.linear(place.offset)}"
    kind = stored_type(place.tensor.dtype.name)
    step = place.along(lane)
    fixed = [_inside(g, names) for g in place.guards if lane not in dict(g[0].terms)]
    moving = [_within(g, lane, names) for g in place.guards if lane in dict(g[0].terms)]
    if not step and not moving:
        text = f"ls({at})"
        return (f"({' && '.join(fixed)} ? {text} : 0)" if fixed else text), kind
    if not fixed and not moving and not count:
        return (f"ld({at})" if step == 1 else f"lds({at}, {step})"), "v" + kind
    if not fixed and not moving and step == 1:
        return f"ldn({at}, {count})", "v" + kind
    masks = [*moving, *(f"splatm({f})" for f in fixed)]
    if count:
        masks.append(f"VI(lane() < splati((int){count}))")
    mask = " & ".join(masks)
    if step == 1:
        return f"ldm({at}, {mask})", "v" + kind
    return f"gam({at}, lane() * {step}, {mask})", "v" + kind


def _inside(guard: tuple[Linear, int], names: Names) -> str:
    at = names.linear(guard[0])
    return f"(unsigned long)({at}) < {guard[1]}ul"


def _within(guard: tuple[Linear, int], lane: str, names: Names) -> str:
    """The mask of the lanes whose coordinate lies inside."""
    step = dict(guard[0].terms)[lane]
    at = f"(splati((int)({names.linear(guard[0])})) + lane() * {step})"
    return f"VI({at} >= 0) & VI({at} < {guard[1]})"


def split(number: str, axes: Sequence[str], product: Product, names: Names) -> list[str]:
    """Coordinates along `axes`, row-major, of a running number."""
    lines = []
    rest = product.extent(axes)
    for i, axis in enumerate(axes):
        extent = product.kernel.extents[axis]
        rest //= extent
        text = number if rest == 1 else f"{number} / {rest}"
        if i and rest * extent < product.extent(axes):
            text = f"({text}) % {extent}"
        lines.append(f"const long {names[axis]} = {text};")
    return lines


def transposition(lanes: int) -> str:
    """``transpose(r, out, stride)``: store a square of vectors with rows and columns exchanged."""
    lines = ["FN void transpose(V *r, float *out, long stride) {"]
    held, step = [f"r[{i}]" for i in range(lanes)], 1
    while step < lanes:
        made = list(held)
        for i in range(lanes):
            if i & step:
                continue
            low = [j if not j & step else lanes + j - step for j in range(lanes)]
            high = [j + step if not j & step else lanes + j for j in range(lanes)]
            for place, order in ((i, low), (i + step, high)):
                made[place] = f"t{step}_{place}"
                picked = ", ".join(map(str, order))
                pair = f"{held[i]}, {held[i + step]}"
                lines.append(f"V {made[place]} = __builtin_shufflevector({pair}, {picked});")
        held, step = made, step * 2
    lines += [f"st(out + {i} * stride, {held[i]});" for i in range(lanes)]
    return "\n".join([*lines, "}", ""])
