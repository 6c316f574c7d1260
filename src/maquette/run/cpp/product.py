"""C++ for products: packed panels, a register tile, and what is done with results in cache."""

from __future__ import annotations

import hashlib
from math import ceil

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile.product import Blocks, blocks_of
from maquette.compiler.tile.product_form import Contraction, Product, recognise
from maquette.compiler.tiling import Tiling
from maquette.run.cpp.product_body import opening
from maquette.run.cpp.product_finish import ahead, finish
from maquette.run.cpp.product_pack import pack, transposition
from maquette.run.cpp.product_text import MICRO, TAIL, THREADS
from maquette.run.source import Source


def emit(kernel: Kernel, tiling: Tiling, processor: Processor) -> Source:
    """The source of a product."""
    product = recognise(kernel)
    return _Emitter(product, blocks_of(product, tiling), processor).source()


class _Emitter:
    def __init__(self, product: Product, blocks: Blocks, processor: Processor) -> None:
        self.product, self.blocks, self.processor = product, blocks, processor
        self.lanes = processor.lanes
        self.m, self.n = product.extent(product.rows), product.extent(product.columns)
        self.width = blocks.vectors * self.lanes
        self.high = ceil(blocks.rows / self.lanes) * self.lanes  # floats per point of packed rows
        self.strips = ceil(self.m / blocks.rows)
        self.panels = ceil(self.n / self.width)
        self.held = blocks.columns // self.width
        self.kinds = range(len(product.contractions))
        self.sums = [product.extent(c.over) for c in product.contractions]
        keys = [(c.rows, c.over) for c in product.contractions]
        self.packed = [keys.index(k) for k in keys]  # contractions that share their packed rows
        self.split = any(k > blocks.chunk for k in self.sums)

    def source(self) -> Source:
        product = self.product
        bodies = [b for c in product.contractions for b in (c.rows, c.columns)]
        bodies += [b for _, b in product.outputs]
        parts = [
            opening(self.lanes, *bodies),
            THREADS,
            self._constants(),
            transposition(self.lanes),
        ]
        for i, c in enumerate(product.contractions):
            if self.packed[i] == i:
                parts.append(pack(product, c, "rows", f"rows{i}", self.lanes, self.blocks.rows))
            parts.append(pack(product, c, "columns", f"columns{i}", self.lanes, self.lanes))
        rest = self.m % self.blocks.rows
        parts.append(finish(product, self.blocks.rows))
        parts.append(ahead(product, self.blocks.rows))
        parts.append(MICRO.replace("@TAIL@", TAIL.replace("@REST@", str(rest)) if rest else ""))
        parts += self._block()
        body = "\n".join(parts)
        text = body + self._entry("@SYMBOL@")
        symbol = f"product_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return Source(symbol, text.replace("@SYMBOL@", symbol), self._workspace())

    def _constants(self) -> str:
        b = self.blocks
        return (
            f"constexpr int NV = {b.vectors}, W = NV * LANES, LDC = W;\n"
            f"constexpr int MR = {b.rows}, AP = {self.high};\n"
            f"constexpr long M = {self.m}, N = {self.n}, STRIPS = {self.strips},"
            f" PANELS = {self.panels}, NP = {self.held}, SUB = {b.sub},"
            f" STEP = {1024 * self.high * 4 // 64};\n"
        )

    def _shared(self) -> int:
        """Floats of packed rows."""
        return sum(
            self.strips * self.sums[i] * self.high for i in self.kinds if self.packed[i] == i
        )

    def _chunk(self, i: int) -> int:
        return self._steps(self.product.contractions[i])[2]

    def _private(self) -> int:
        """Floats of packed columns and of results of one thread."""
        packed = sum(self.held * self.width * self._chunk(i) for i in self.kinds)
        strips = ceil(self.strips / self.blocks.grid[0]) + 1 if self.split else 1
        results = len(self.kinds) * (strips * self.held * self.blocks.rows * self.width + 64)
        own = self._shared() if self.blocks.apart else 0
        return -(-(packed + results + own + 16 * self.width) // 16) * 16

    def _workspace(self) -> int:
        shared = 0 if self.blocks.apart else self._shared()
        return 4 * (-(-shared // 16) * 16 + self.processor.threads * self._private()) + 4096

    def _steps(self, c: Contraction) -> tuple[int, int, int]:
        """Points of the outer summed axes and of the inner one per chunk, and of both."""
        inner = self.product.extent(c.over[-1:])
        outer = self.product.extent(c.over[:-1])
        if inner >= self.blocks.chunk:
            return 1, self.blocks.chunk, self.blocks.chunk
        steps = min(outer, max(1, self.blocks.chunk // inner))
        return steps, inner, steps * inner

    def _rows_at(self) -> list[str]:
        """Where the packed rows of each contraction start."""
        lines, at = [], 0
        for i in self.kinds:
            if self.packed[i] == i:
                lines.append(f"float *const a{i} = ap + {at};")
                at += self.strips * self.sums[i] * self.high
            else:
                lines.append(f"float *const a{i} = a{self.packed[i]};")
        return lines

    def _block(self) -> list[str]:
        """``block``: the panels [pb, pb + np) of the strips [s0, s1)."""
        b = self.blocks
        lines = [
            "static void block(void *const *b, long batch, long pb, long np, long s0, long s1,"
            " const float *ap, float *mine) {",
            *(line.replace("float *const", "const float *const") for line in self._rows_at()),
        ]
        at = 0
        for i in self.kinds:
            lines.append(f"float *const w{i} = mine + {at};")
            at += self.held * self.width * self._chunk(i)
        strips = ceil(self.strips / b.grid[0]) + 1 if self.split else 1
        for i in self.kinds:
            lines.append(f"float *const c{i} = mine + {at};")
            at += strips * self.held * b.rows * self.width + 64
        results = ", ".join(f"c{i} + at" for i in self.kinds)
        ending = [
            "for (long p = 0; p < np; ++p) {{ const long at = {} + p * MR * W;",
            f"finish(b, batch, s, rows, pb + p, {results}); }}",
        ]
        strip = (
            "for (long s = s0; s < s1; ++s) {\nconst long rows = M - s * MR < MR ? M - s * MR : MR;"
        )
        if not self.split:
            for i in self.kinds:
                lines += self._columns(i, ("0", "0"))
            lines += [strip, *(self._call(i, "0", "c") for i in self.kinds)]
            lines += [ending[0].format("0"), ending[1], "}"]
        else:
            for i in self.kinds:
                lines += self._chunks(i, strip)
            lines += [strip, ending[0].format("(s - s0) * NP * MR * W"), ending[1], "}"]
        return ["\n".join([*lines, "}", ""])]

    def _chunks(self, i: int, strip: str) -> list[str]:
        c = self.product.contractions[i]
        outer, inner, _ = self._steps(c)
        whole = self.product.extent(c.over[:-1]), self.product.extent(c.over[-1:])
        return [
            f"for (long o = 0; o < {whole[0]}; o += {outer})",
            f"for (long x = 0; x < {whole[1]}; x += {inner}) {{",
            *self._columns(i, ("o", "x")),
            f"const long k = o * {whole[1]} + x;",
            strip,
            self._call(i, "k", "split"),
            "}", "}",
        ]  # fmt: skip

    def _columns(self, i: int, start: tuple[str, str]) -> list[str]:
        """Pack the block's columns of contraction `i` from a point of its sum on."""
        c = self.product.contractions[i]
        outer, inner, _ = self._steps(c)
        whole = self.product.extent(c.over[:-1]), self.product.extent(c.over[-1:])
        ends = [
            f"{at} + {step} < {end} ? {at} + {step} : {end}"
            for at, step, end in zip(start, (outer, inner), whole, strict=True)
        ]
        return [
            f"const long o{i} = {ends[0]}, x{i} = {ends[1]};",
            f"const long kc{i} = (o{i} - {start[0]}) * (x{i} - {start[1]});",
            "for (long p = 0; p < np; ++p)",
            "for (int v = 0; v < NV; ++v) {",
            "const long first = (pb + p) * W + v * LANES;",
            f"float *const out = w{i} + p * W * kc{i} + v * LANES;",
            "if (first < N)",
            f"columns{i}(b, batch, first, N - first < LANES ? N - first : LANES, {start[0]}, o{i},"
            f" {start[1]}, x{i}, out, W);",
            f"else for (long k = 0; k < kc{i}; ++k) st(out + k * W, V{{}});",
            "}",
        ]

    def _call(self, i: int, at: str, how: str) -> str:
        k = self.sums[i]
        where = f"a{i} + (s * {k} + {at}) * AP"
        after = f"a{i} + ((s + 1 < s1 ? s + 1 : s0) * {k} + {at}) * AP"
        place = f"c{i}" if how == "c" else f"c{i} + (s - s0) * NP * MR * W"
        first = "true" if at == "0" else f"{at} == 0"
        last = i == self.kinds[-1] and not self.split
        given = (
            f"np, kc{i}, {where}, w{i}, W * kc{i}, {place}, {first}, {after}, {str(last).lower()}"
        )
        return f"strip({{b, batch, s, pb, rows}}, {given});"

    def _entry(self, symbol: str) -> str:
        b = self.blocks
        batch = self.product.extent(self.product.batch)
        count = len(self.product.kernel.inputs) + len(self.product.kernel.outputs)
        shared = 0 if b.apart else -(-self._shared() // 16) * 16
        me = ("0", "1") if b.apart else ("t", "team")
        range_ = (
            (f"{batch}L * t / team", f"{batch}L * (t + 1) / team") if b.apart else ("0", f"{batch}")
        )
        packing = []
        for i in self.kinds:
            if self.packed[i] == i:
                packing += self._rows(i)
        barrier = [] if b.apart else ["#pragma omp barrier"]
        rows, columns = b.grid
        lines = [
            f'extern "C" void {symbol}(void *const *b) {{',
            f"float *const ws = (float *)b[{count}];",
            f"#pragma omp parallel num_threads({self.processor.threads})",
            "{", "TEAM",
            f"float *mine = ws + {shared} + t * {self._private()};",
            f"float *const ap = {'mine' if b.apart else 'ws'};",
            *([f"mine += {self._shared()};"] if b.apart else []),
            *self._rows_at(),
            f"for (long batch = {range_[0]}; batch < {range_[1]}; ++batch) {{",
            f"const long packed = STRIPS * ({me[0]} + 1) / {me[1]};",
            f"for (long s = STRIPS * {me[0]} / {me[1]}; s < packed; ++s) {{",
            *packing, "}", *barrier,
            f"for (long cell = {me[0]}; cell < {rows * columns}; cell += {me[1]}) {{",
            f"const long i = cell / {columns}, j = cell % {columns};",
            f"const long s0 = STRIPS * i / {rows}, s1 = STRIPS * (i + 1) / {rows};",
            f"const long end = PANELS * (j + 1) / {columns};",
            f"for (long pb = PANELS * j / {columns}; pb < end; pb += NP)",
            "block(b, batch, pb, end - pb < NP ? end - pb : NP, s0, s1, ap, mine);",
            "}", *(barrier if batch > 1 else []), "}", "}", "}", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def _rows(self, i: int) -> list[str]:
        """Pack a strip of rows over the whole sum of contraction `i`."""
        c = self.product.contractions[i]
        outer, inner = self.product.extent(c.over[:-1]), self.product.extent(c.over[-1:])
        return [
            "for (int v = 0; v < AP; v += LANES) {",
            "long n = M - s * MR - v;",
            "if (n > MR - v) n = MR - v;",
            "if (n > LANES) n = LANES;",
            f"float *const out = a{i} + s * {self.sums[i]} * AP + v;",
            f"if (n > 0) rows{i}(b, batch, s * MR + v, n, 0, {outer}, 0, {inner}, out, AP);",
            "}",
        ]
