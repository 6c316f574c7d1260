"""C++ for products of few rows: the columns' factor is read once, in order, and never stored."""

from __future__ import annotations

import hashlib

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile.product_form import Product, recognise
from maquette.compiler.tile.product_thin import (
    Thin,
    columns_at_once,
    thin,
    upright,
    written_out,
)
from maquette.compiler.tile.tables import table
from maquette.compiler.tiling import Tiling
from maquette.ir.scalar import Arg, Scalar
from maquette.ir.scalar import reads as reads_of
from maquette.run.cpp.product_body import Statements, Typed, converted, literal, opening
from maquette.run.cpp.product_finish import finish
from maquette.run.cpp.product_pack import Names, read, split
from maquette.run.cpp.product_text import THREADS
from maquette.run.cpp.vector import ctype
from maquette.run.source import Source

PANEL = 64  # columns whose results are finished together
LINE = 4  # vectors along the sum between requests for memory: bytes of one cache line

# Lane by lane the value whose number is the low bits of `at`.
PICKED = """
FN V picked(V values, VI at) {
#if defined(__clang__) && defined(__AVX512F__)
  if constexpr (LANES == 16) return __builtin_ia32_permvarsf512(values, at);
#elif !defined(__clang__)
  return __builtin_shuffle(values, at);
#endif
  V found;
  for (int i = 0; i < LANES; i++) found[i] = values[at[i] & (LANES - 1)];
  return found;
}
"""


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
            opening(lanes, *used), THREADS, _total(lanes), PICKED,
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
            *(line for i in kinds for line in self._chunks(i)),
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
        """Partial sums of the columns [first, first + count), `at_once` together.

        They run over [o0, o1) of the outer summed points and [i0, i1) of the innermost axis.
        """
        p = self.parts[i]
        where = "void *const *b, long batch, long first"
        span = "const float *rows, V *sums, long o0, long o1, long i0, long i1"
        loaded = [f"for (int l = 0; l < C; ++l) for (int r = 0; r < {self.m}; ++r)"]
        lines = [
            f"template <int C> FN void some{i}({where}, {span}) {{",
            *self._head(p.contraction.columns),
            *(f"long {self.names[a]}_[C];" for a in self.product.columns),
            "for (int l = 0; l < C; ++l) {", "const long at = first + l;",
            *split("at", self.product.columns, self.product, self.names),
            *(f"{self.names[a]}_[l] = {self.names[a]};" for a in self.product.columns), "}",
            f"V sum[C][{self.m}];",
            *([*loaded, f"sum[l][r] = sums[l * {self.m} + r];"] if p.group is None else []),
            "for (long o = o0; o < o1; ++o) {",
            *split("o", p.outer, self.product, self.names),
            *self._group(i),
            "}",
            *([*loaded, f"sums[l * {self.m} + r] = sum[l][r];"] if p.group is None else []), "}",
            f"static void columns{i}({where}, long count, {span}) {{",
            "long l = 0;",
            f"for (; l + {self.at_once} <= count; l += {self.at_once}) some{i}<{self.at_once}>"
            f"(b, batch, first + l, rows, sums + l * {self.m}, o0, o1, i0, i1);",
            f"for (; l < count; ++l) some{i}<1>"
            f"(b, batch, first + l, rows, sums + l * {self.m}, o0, o1, i0, i1);", "}", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def _chunks(self, i: int) -> list[str]:
        """All sums of a panel: the rows in chunks that stay in the nearest cache, or nearly."""
        p, m = self.parts[i], self.m
        size, outer = self.product.kernel.extents[p.inner], self.product.extent(p.outer)
        once = self.processor.l1 // 2 // (4 * m * self.product.extent(p.short))  # points
        call = f"columns{i}(b, batch, p * W, end, ws + {self.starts[i]}, sums"
        lines = [f"V sums[{m} * W] = {{}};"]
        if once >= size * outer:
            lines += [f"{call}, 0, {outer}, 0, {size});"]
        elif p.outer and once < size * outer and size <= once:
            step = max(1, once // size)
            lines += [
                f"for (long o = 0; o < {outer}; o += {step})",
                f"{call}, o, o + {step} < {outer} ? o + {step} : {outer}, 0, {size});",
            ]
        else:
            line = LINE * self.processor.lanes
            step = max(line, once // line * line)
            lines += [
                f"for (long o = 0; o < {outer}; ++o) for (long x = 0; x < {size}; x += {step})",
                f"{call}, o, o + 1, x, x + {step} < {size} ? x + {step} : {size});",
            ]
        return [
            "{", *lines, f"for (long l = 0; l < end; ++l) for (int r = 0; r < {m}; ++r)",
            f"c{i}[r * LDC + l] = total(sums[l * {m} + r]);", "}",
        ]  # fmt: skip

    def _group(self, i: int) -> list[str]:
        """One point of the outer axes: its own sums where a factor of the group follows."""
        p, x = self.parts[i], self.names[self.parts[i].inner]
        lanes = self.processor.lanes
        lines = (
            []
            if p.group is None
            else [
                f"for (int l = 0; l < C; ++l) for (int r = 0; r < {self.m}; ++r) sum[l][r] = V{{}};"
            ]
        )
        made = self._step(i, True)
        lines += [
            f"long {x} = i0;", f"while ({x} + {LINE * lanes} <= i1) {{", *self._ahead(p),
            f"for (const long end = {x} + {LINE * lanes}; {x} < end; {x} += LANES) {{", *made, "}",
            "}", f"for (; {x} + LANES <= i1; {x} += LANES) {{", *made, "}",
        ]  # fmt: skip
        if self.product.kernel.extents[p.inner] % lanes:
            lines += [f"if (const int n = i1 - {x}; n > 0) {{", *self._step(i, False), "}"]
        if p.group is not None:
            held = Statements(lambda a: self._read(a, "", True), self._index(""))
            value = held.number(p.group, vector=False)
            lines += [
                "#pragma GCC unroll 8", "for (int l = 0; l < C; ++l) {", *self._own(),
                *held.lines, f"const V by = splat({value});",
                f"for (int r = 0; r < {self.m}; ++r) sums[l * {self.m} + r] += sum[l][r] * by;",
                "}",
            ]  # fmt: skip
        return lines

    def _step(self, i: int, full: bool) -> list[str]:
        """A vector of every column times those of every row, for each point of the short axes."""
        p = self.parts[i]
        made = Statements(lambda a: self._read(a, p.inner, full), self._index(p.inner))
        values = [self._looked_up(made, body) for body in written_out(self.product, p)]
        size = self.product.kernel.extents[p.inner]
        count = len(values)
        starts = [f"(o * {count} + {j}) * {size} + {self.names[p.inner]}" for j in range(count)]
        k = self.product.extent(p.contraction.over)
        load, tail = ("ld", "") if full else ("ldn", ", n")
        return [
            f"V w[{count}][C];",
            "#pragma GCC unroll 8", "for (int l = 0; l < C; ++l) {", *self._own(), *made.lines,
            *(f"w[{j}][l] = {v};" for j, v in enumerate(values)), "}",
            "#pragma GCC unroll 8", f"for (int r = 0; r < {self.m}; ++r) {{",
            *(
                f"{{ const V x = {load}(rows + r * {k} + {at}{tail});\n#pragma GCC unroll 8\n"
                f"for (int l = 0; l < C; ++l) sum[l][r] += w[{j}][l] * x; }}"
                for j, at in enumerate(starts)
            ),
            "}",
        ]  # fmt: skip

    def _looked_up(self, made: Statements, body: Scalar) -> str:
        """A body as a vector of floats: by one shuffle where it is a function of a few bits."""
        found = table(body, self.processor.lanes)
        if found is None:
            return made.number(body, vector=True)
        values = ", ".join(literal(v)[0] for v in found.values)
        return f"picked(V{{{values}}}, {converted(made.value(found.index), 'vi')})"

    def _own(self) -> list[str]:
        return [f"const long {self.names[a]} = {self.names[a]}_[l];" for a in self.product.columns]

    def _ahead(self, p: Thin) -> list[str]:
        """Ask for the columns that come next: rows end before the hardware sees a stream."""
        lines = []
        for arg in dict.fromkeys(reads_of(p.each)):
            place = self.product.access(arg)
            step = place.along(self.product.columns[-1]) * self.at_once
            if place.along(p.inner) != 1 or not step:
                continue
            at = f"p{arg.number} + {self.names.linear(place.offset)} + {step}"
            apart = max(1, 64 // int(place.tensor.dtype.bytes))  # elements of a cache line
            for line in range(0, LINE * self.processor.lanes, apart):
                lines.append(f"__builtin_prefetch({at} + {line}, 0, 2);")
        if not lines:
            return []
        return ["#pragma GCC unroll 8", "for (int l = 0; l < C; ++l) {", *self._own(), *lines, "}"]

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
