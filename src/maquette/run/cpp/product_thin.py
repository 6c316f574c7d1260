"""C++ for products of few rows: the columns' factor is read once, in order, and never stored."""

from __future__ import annotations

import hashlib
from itertools import product as combinations

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile import bodies
from maquette.compiler.tile.product_form import Product, recognise
from maquette.compiler.tile.product_thin import Thin, columns_at_once, thin, upright
from maquette.compiler.tiling import Tiling
from maquette.ir.scalar import Arg, Index, Lit, Scalar
from maquette.ir.scalar import reads as reads_of
from maquette.run.cpp.product_body import Statements, Typed, opening
from maquette.run.cpp.product_finish import finish
from maquette.run.cpp.product_pack import Names, read, split
from maquette.run.cpp.product_text import THREADS
from maquette.run.cpp.vector import ctype
from maquette.run.source import Source

PANEL = 64  # columns whose results are finished together


def emit(kernel: Kernel, tiling: Tiling, processor: Processor) -> Source:
    """The source of a product of few rows."""
    product = upright(recognise(kernel))
    return _Emitter(product, [thin(product, c) for c in product.contractions], processor).source()


class _Emitter:
    def __init__(self, product: Product, parts: list[Thin], processor: Processor) -> None:
        self.product, self.parts, self.processor = product, parts, processor
        self.m, self.n = product.extent(product.rows), product.extent(product.columns)
        self.at_once = columns_at_once(self.m, processor)
        self.names = Names(tuple(product.kernel.extents))
        self.starts = [0]  # floats, of each contraction's rows
        for p in parts:
            size = self.m * product.extent(p.contraction.over) + processor.lanes
            self.starts.append(self.starts[-1] + -(-size // 16) * 16)

    def source(self) -> Source:
        product, lanes = self.product, self.processor.lanes
        used = [b for c in product.contractions for b in (c.rows, c.columns)]
        used += [b for _, b in product.outputs]
        kinds = range(len(self.parts))
        tiles = ", ".join(f"c{i}" for i in kinds)
        batch = product.extent(product.batch)
        panels = -(-self.n // PANEL)
        count = len(product.kernel.inputs) + len(product.kernel.outputs)
        threads = self.processor.threads if self.n * self.starts[-1] > 1 << 14 else 1
        text = "\n".join([
            opening(lanes, *used), THREADS, _total(lanes),
            f"constexpr int W = {PANEL}, LDC = W;\nconstexpr long N = {self.n};",
            finish(product, self.m),
            *(self._rows(i) for i in kinds), *(self._columns(i) for i in kinds),
            'extern "C" void @SYMBOL@(void *const *b) {',
            f"float *const ws = (float *)b[{count}];",
            f"for (long batch = 0; batch < {batch}; ++batch) {{",
            *(f"rows{i}(b, batch, ws + {self.starts[i]});" for i in kinds),
            f"#pragma omp parallel num_threads({threads})", "{", "TEAM",
            f"for (long p = {panels}L * t / team; p < {panels}L * (t + 1) / team; ++p) {{",
            *(f"float c{i}[{self.m} * W] = {{}};" for i in kinds),
            "const long end = N - p * W < W ? N - p * W : W;",
            *(f"columns{i}(b, batch, p * W, end, ws + {self.starts[i]}, c{i});" for i in kinds),
            f"finish(b, batch, 0, {self.m}, p, {tiles});",
            "}", "}", "}", "}", "",
        ])  # fmt: skip
        symbol = f"thin_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return Source(symbol, text.replace("@SYMBOL@", symbol), 4 * self.starts[-1] + 64)

    def _order(self, p: Thin) -> tuple[str, ...]:
        return (*p.outer, *p.short, p.inner)

    def _head(self, *used: Scalar | None) -> list[str]:
        """Pointers to what is read, and the coordinates of the batch."""
        numbers = {a.number for body in used if body is not None for a in reads_of(body)}
        inputs = self.product.kernel.inputs
        pointers = [
            f"const {ctype(t.dtype)} *const p{i} = (const {ctype(t.dtype)} *)b[{i}];"
            for i, t in enumerate(inputs)
            if i in numbers
        ]
        return [*pointers, *split("batch", self.product.batch, self.product, self.names)]

    def _rows(self, i: int) -> str:
        """The rows' factor, once, along the sum in the order in which columns stream."""
        p, x = self.parts[i], self.names[self.parts[i].inner]
        outer = self._order(p)[:-1]
        size = self.product.kernel.extents[p.inner]
        lines = [
            f"static void rows{i}(void *const *b, long batch, float *out) {{",
            *self._head(p.contraction.rows),
            f"for (long row = 0; row < {self.m}; ++row) {{",
            *split("row", self.product.rows, self.product, self.names),
            f"for (long o = 0; o < {self.product.extent(outer)}; ++o) {{",
            *split("o", outer, self.product, self.names),
            f"for (long {x} = 0; {x} < {size}; {x} += LANES) {{",
            f"const long n = {size} - {x};", "if (n >= LANES) {",
            *self._filled(p, True), "} else {", *self._filled(p, False), "}",
            "}", f"out += {size};", "}", "}", "}", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def _filled(self, p: Thin, full: bool) -> list[str]:
        made = Statements(lambda a: self._read(a, p.inner, full), self._index(p.inner))
        value = made.number(p.contraction.rows, vector=True)
        place = f"out + {self.names[p.inner]}"
        store = f"st({place}, {value});" if full else f"stn({place}, {value}, n);"
        return [*made.lines, store]

    def _columns(self, i: int) -> str:
        """Sums of the columns [first, first + count), `at_once` together."""
        p = self.parts[i]
        lines = [
            f"template <int C> FN void some{i}(void *const *b, long batch, long first,"
            " const float *rows, float *c) {",
            *self._head(p.contraction.columns),
            *(f"long {self.names[a]}_[C];" for a in self.product.columns),
            "for (int l = 0; l < C; ++l) {", "const long at = first + l;",
            *split("at", self.product.columns, self.product, self.names),
            *(f"{self.names[a]}_[l] = {self.names[a]};" for a in self.product.columns), "}",
            f"V sum[C][{self.m}] = {{}};",
            f"for (long o = 0; o < {self.product.extent(p.outer)}; ++o) {{",
            *split("o", p.outer, self.product, self.names),
            *self._group(i),
            "}",
            "for (int l = 0; l < C; ++l)",
            f"for (int r = 0; r < {self.m}; ++r) c[r * LDC + l] = total(sum[l][r]);", "}",
            f"static void columns{i}(void *const *b, long batch, long first, long count,"
            " const float *rows, float *c) {",
            "long l = 0;",
            f"for (; l + {self.at_once} <= count; l += {self.at_once})"
            f" some{i}<{self.at_once}>(b, batch, first + l, rows, c + l);",
            f"for (; l < count; ++l) some{i}<1>(b, batch, first + l, rows, c + l);", "}", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def _group(self, i: int) -> list[str]:
        """One point of the outer axes: its own sums where a factor of the group follows."""
        p, x = self.parts[i], self.names[self.parts[i].inner]
        size = self.product.kernel.extents[p.inner]
        whole = size // self.processor.lanes * self.processor.lanes
        into = "sum" if p.group is None else "part"
        lines = [] if p.group is None else [f"V part[C][{self.m}] = {{}};"]
        lines += [f"long {x} = 0;", f"for (; {x} < {whole}; {x} += LANES) {{",
                  *self._step(i, into, True), "}"]  # fmt: skip
        if whole < size:
            lines += ["{", f"const int n = {size - whole};", *self._step(i, into, False), "}"]
        if p.group is not None:
            made = Statements(lambda a: self._read(a, "", True), self._index(""))
            value = made.number(p.group, vector=False)
            lines += [
                "#pragma GCC unroll 8", "for (int l = 0; l < C; ++l) {", *self._own(),
                *made.lines, f"const V by = splat({value});",
                f"for (int r = 0; r < {self.m}; ++r) sum[l][r] += part[l][r] * by;", "}",
            ]  # fmt: skip
        return lines

    def _step(self, i: int, into: str, full: bool) -> list[str]:
        """A vector of every column times those of every row, for each point of the short axes."""
        p = self.parts[i]
        extents, names = self.product.kernel.extents, self.names
        made = Statements(lambda a: self._read(a, p.inner, full), self._index(p.inner))
        values, starts = [], []
        size = extents[p.inner]
        count = self.product.extent(p.short)
        for number, point in enumerate(combinations(*(range(extents[a]) for a in p.short))):
            fixed: dict[Scalar, Scalar] = {
                Index(a): Lit(v) for a, v in zip(p.short, point, strict=True)
            }
            body = bodies.simplify(bodies.replace(p.each, fixed))
            values.append(made.number(body, vector=True))
            starts.append(f"(o * {count} + {number}) * {size} + {names[p.inner]}")
        k = self.product.extent(p.contraction.over)
        tail = "" if full else ", n"
        load = "ld" if full else "ldn"
        lines = [f"V x[{count}][{self.m}];"]
        lines += [
            f"x[{j}][{r}] = {load}(rows + {r * k} + {at}{tail});"
            for j, at in enumerate(starts)
            for r in range(self.m)
        ]
        lines += [
            "#pragma GCC unroll 8", "for (int l = 0; l < C; ++l) {", *self._own(),
            *(self._ahead(p) if full else []), *made.lines,
            "#pragma GCC unroll 8", f"for (int r = 0; r < {self.m}; ++r) {{",
            *(f"{into}[l][r] += {v} * x[{j}][r];" for j, v in enumerate(values)), "}", "}",
        ]  # fmt: skip
        return lines

    def _own(self) -> list[str]:
        return [f"const long {self.names[a]} = {self.names[a]}_[l];" for a in self.product.columns]

    def _ahead(self, p: Thin) -> list[str]:
        """Ask for the columns that come next: rows end before the hardware sees a stream."""
        lines = []
        for arg in dict.fromkeys(reads_of(p.each)):
            place = self.product.access(arg)
            step = place.along(self.product.columns[-1]) * self.at_once
            if place.along(p.inner) == 1 and step:
                at = f"p{arg.number} + {self.names.linear(place.offset)} + {step}"
                lines.append(f"__builtin_prefetch({at}, 0, 2);")
        return lines

    def _read(self, arg: Arg, lane: str, full: bool) -> Typed:
        place = self.product.access(arg)
        return read(place, f"p{arg.number}", lane, self.names, "" if full else "n")

    def _index(self, lane: str):  # type: ignore[no-untyped-def]
        def index(axis: str) -> Typed:
            if self.product.kernel.extents[axis] == 1:
                return "0L", "i"
            if axis == lane:
                return f"(splati((int){self.names[axis]}) + lane())", "vi"
            return self.names[axis], "i"

        return index


def _total(lanes: int) -> str:
    """``total``: the sum across the lanes of a vector."""
    lines, step = ["FN float total(V x) {"], lanes // 2
    while step:
        order = ", ".join(str((i + step) % lanes) for i in range(lanes))
        lines.append(f"x += __builtin_shufflevector(x, x, {order});")
        step //= 2
    return "\n".join([*lines, "return x[0];", "}", ""])
