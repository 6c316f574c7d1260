"""Micro-kernels of streamed folds: register tiles fully unrolled, every accumulator a name.

Lanes are rows of the result, so nothing is ever summed across lanes.  The operand along the stream
is read in its own layout, one scalar at a time for all rows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Register:
    """A register tile: `vectors` of rows by `scalars` of the other operand."""

    block: int  # rows of a block: the stride of tiles
    lanes: int
    vectors: int
    scalars: int

    @property
    def width(self) -> int:
        return self.vectors * self.lanes


def product(
    name: str, tile: Register, dtype: str, extents: list[tuple[int, int]], step: int, rest: int
) -> str:
    """``x[t, rows] = Σ_d a[t, d] · q[d, rows]`` for n positions of the stream.

    `extents` are (extent, stride of a) of the contracted axes, `step` is the stride of a along the
    stream, `rest` the positions that remain at its end.
    """
    body = _rows(tile, dtype, extents, step, tile.scalars)
    text = [
        f"static NOINLINE void {name}(const {dtype} *a, const float *q, float *x, long n) {{",
        f"for (long g = 0; g < {tile.block}; g += {tile.width}) {{",
        "long t = 0;",
        f"for (; t + {tile.scalars} <= n; t += {tile.scalars}) {{",
        *body,
        "}",
    ]
    if rest:
        text += ["if (t < n) {", *_rows(tile, dtype, extents, step, rest), "}"]
    return "\n".join([*text, "}", "}", ""])


def _rows(
    tile: Register, dtype: str, extents: list[tuple[int, int]], step: int, scalars: int
) -> list[str]:
    pairs = [(i, v) for i in range(scalars) for v in range(tile.vectors)]
    lines = [
        f"const {dtype} *p = a + t * {step};",
        "const float *w = q + g;",
        "V " + ", ".join(f"x{i}_{v}{{}}" for i, v in pairs) + ";",
    ]
    for k, (extent, _) in enumerate(extents):
        lines.append(f"#pragma GCC unroll {4 if k == len(extents) - 1 else 1}")
        lines.append(f"for (long d{k} = 0; d{k} < {extent}; ++d{k})")
    at = " + ".join(f"d{k} * {stride}" for k, (_, stride) in enumerate(extents))
    lines.append("{")
    lines += [f"V q{v} = ld(w + {v * tile.lanes});" for v in range(tile.vectors)]
    for i in range(scalars):
        lines.append(f"V s{i} = splat(ls(p + {at} + {i * step}));")
        lines += [f"x{i}_{v} += s{i} * q{v};" for v in range(tile.vectors)]
    lines += [f"w += {tile.block};", "}"]
    lines += [
        f"st(x + (t + {i}) * {tile.block} + g + {v * tile.lanes}, x{i}_{v});" for i, v in pairs
    ]
    return lines


def contract(
    name: str, tile: Register, dtype: str, extent: int, step: int, inner: int, repaired: bool
) -> str:
    """``o[e, rows] = o[e, rows] · r[rows] + Σ_t a[t, e] · p[t, rows]`` for n positions.

    `step` and `inner` are strides of a along the stream and along e.
    """
    text = [
        f"static NOINLINE void {name}(const {dtype} *a, const float *p, float *o,",
        "const float *r, long n) {",
        f"for (long g = 0; g < {tile.block}; g += {tile.width}) {{",
        "long e = 0;",
    ]
    whole, rest = divmod(extent, tile.scalars)
    if whole:
        text.append(f"for (; e < {whole * tile.scalars}; e += {tile.scalars}) {{")
        text += [*_columns(tile, dtype, step, inner, tile.scalars, repaired), "}"]
    if rest:
        text += ["{", *_columns(tile, dtype, step, inner, rest, repaired), "}"]
    return "\n".join([*text, "}", "}", ""])


def _columns(
    tile: Register, dtype: str, step: int, inner: int, scalars: int, repaired: bool
) -> list[str]:
    pairs = [(i, v) for i in range(scalars) for v in range(tile.vectors)]
    lines = [f"const {dtype} *s = a + e * {inner};", f"float *x = o + e * {tile.block} + g;"]
    if repaired:
        lines += [f"V r{v} = ld(r + g + {v * tile.lanes});" for v in range(tile.vectors)]
    for i, v in pairs:
        old = f"ld(x + {i * tile.block + v * tile.lanes})"
        lines.append(f"V x{i}_{v} = {old}{f' * r{v}' if repaired else ''};")
    lines += ["const float *w = p + g;", "#pragma GCC unroll 2", "for (long t = 0; t < n; ++t) {"]
    lines += [f"V p{v} = ld(w + {v * tile.lanes});" for v in range(tile.vectors)]
    for i in range(scalars):
        lines.append(f"V s{i} = splat(ls(s + {i * inner}));")
        lines += [f"x{i}_{v} += s{i} * p{v};" for v in range(tile.vectors)]
    lines += [f"w += {tile.block};", f"s += {step};", "}"]
    lines += [f"st(x + {i * tile.block + v * tile.lanes}, x{i}_{v});" for i, v in pairs]
    return lines


# Rows to lanes and back: dst[c][rows] = src[row][c].  Rows that there are not become zeros.
MOVES = """\
constexpr bool is_float(const float *) { return true; }
constexpr bool is_float(const bf16 *) { return true; }
constexpr bool is_float(const void *) { return false; }
template <long ROW, long COL, long COLS, long BLOCK, typename T>
static NOINLINE void pack(const T *src, float *dst, float scale, long rows) {
  for (long g = 0; g < BLOCK; g += LANES) {
    long c = 0;
    if constexpr (COL == 1 && is_float((const T *)0))
      for (; c + LANES <= COLS; c += LANES) {
        V r[LANES];
        for (int i = 0; i < LANES; ++i)
          r[i] = g + i < rows ? ld(src + (g + i) * ROW + c) : V{};
        transpose(r);
        for (int i = 0; i < LANES; ++i) st(dst + (c + i) * BLOCK + g, r[i] * scale);
      }
    for (; c < COLS; ++c)
      for (int i = 0; i < LANES; ++i)
        dst[c * BLOCK + g + i] =
            g + i < rows ? (float)ls(src + (g + i) * ROW + c * COL) * scale : 0.f;
  }
}
template <long ROW, long COL, long COLS, long BLOCK, typename T>
static NOINLINE void unpack(const float *src, T *dst, long rows) {
  for (long g = 0; g < rows; g += LANES) {
    long c = 0;
    if (COL == 1)
      for (; c + LANES <= COLS; c += LANES) {
        V r[LANES];
        for (int i = 0; i < LANES; ++i) r[i] = ld(src + (c + i) * BLOCK + g);
        transpose(r);
        for (int i = 0; i < LANES; ++i)
          if (g + i < rows) st(dst + (g + i) * ROW + c, r[i]);
      }
    for (; c < COLS; ++c)
      for (int i = 0; i < LANES && g + i < rows; ++i)
        ss(dst + (g + i) * ROW + c * COL, src[c * BLOCK + g + i]);
  }
}
template <long STEP, long COL, long COLS, long WIDTH, typename T>
static NOINLINE void widen(const T *src, float *dst, long n) {
  for (long t = 0; t < n; ++t) {
    long c = 0;
    if constexpr (COL == 1 && is_float((const T *)0))
      for (; c + LANES <= COLS; c += LANES) st(dst + t * WIDTH + c, ld(src + t * STEP + c));
    for (; c < COLS; ++c) dst[t * WIDTH + c] = (float)ls(src + t * STEP + c * COL);
  }
}
FN V bits(V x) { return x; }
FN V bits(VI x) { return (V)x; }
template <long ROW, long BLOCK, typename T>
static NOINLINE void turn(const T *src, float *dst, long rows, long n) {
  for (long g = 0; g < BLOCK; g += LANES)
    for (long t = 0; t < n; t += LANES) {
      V r[LANES];
      const int some = n - t < LANES ? (int)(n - t) : LANES;
      for (int i = 0; i < LANES; ++i) {
        const T *p = src + (g + i < rows ? g + i : rows - 1) * ROW + t;
        r[i] = some == LANES ? bits(ld(p)) : bits(ldn(p, some));
      }
      transpose(r);
      for (int i = 0; i < some; ++i) st(dst + (t + i) * BLOCK + g, r[i]);
    }
}
"""
