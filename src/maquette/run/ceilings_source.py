"""The C++ that finds a processor's ceilings: chains of multiply-adds, streams, empty kernels.

Header-free, and of vectors in GCC's notation, as all generated code is.
"""

from __future__ import annotations

from maquette.compiler.processor import Processor
from maquette.run.source import Source

PROBES = ("fma", "vector", "exp", "read", "write", "copy", "launch", "touch")
_CHAINS = 12  # independent ones: latency times units, and few enough for sixteen registers

_FRAME = """\
typedef float vec __attribute__((vector_size({width}), aligned({width})));
typedef int ints __attribute__((vector_size({width}), aligned({width})));
typedef long long i64;

{functions}
// args: probe, threads, repeats, floats of a thread
extern "C" void {symbol}(void *const *buffers) {{
  const i64 *args = (const i64 *)buffers[0];
  float *data = (float *)buffers[1], *sink = (float *)buffers[2];
  const i64 probe = args[0], threads = args[1], repeats = args[2], count = args[3];
  if (probe == {launch}) {{
    for (i64 r = 0; r < repeats; ++r) {{
      #pragma omp parallel for schedule(static, 1) num_threads(threads)
      for (i64 t = 0; t < threads; ++t) __asm__ volatile("" ::: "memory");
    }}
    return;
  }}
  #pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (i64 t = 0; t < threads; ++t) {{
    float *own = data + t * count, *out = sink + t * 64;
    switch (probe) {{
{cases}
    }}
  }}
}}
"""

_CHAINED = """\
static __attribute__((noinline)) void {name}(float *own, float *out, i64 repeats, i64) {{
  const vec a = *(vec *)out * 0.0f + 0.999f, b = *(vec *)out * 0.0f + 0.001f;
  vec {starts};
  for (i64 r = 0; r < repeats; ++r) {{
    __asm__ volatile("" ::: "memory");
    {steps}
  }}
  *(vec *)out = {total};
}}
"""

# 2^x by an integer exponent and a polynomial of degree five, as generated kernels do it.
_EXP = """\
static inline vec exp2_of(vec x) {{
  const ints low = x < -126.0f;
  x = (vec)(((ints)(x * 0.0f - 126.0f) & low) | ((ints)x & ~low));
  const vec magic = x * 0.0f + 12582912.0f;
  vec rounded = x + magic;
  __asm__("" : "+{register}"(rounded));
  const ints n = (ints)rounded << 23;
  vec f = x - (rounded - magic), p = f * 0.00133336f + 0.00961813f;
  p = p * f + 0.0555041f; p = p * f + 0.240227f; p = p * f + 0.693147f; p = p * f + 1.0f;
  return (vec)((ints)p + n);
}}
"""

_STREAMS = """\
static __attribute__((noinline)) void read(float *own, float *out, i64 repeats, i64 count) {
  const i64 n = count / LANES;
  vec s0 = {}, s1 = {}, s2 = {}, s3 = {};
  for (i64 r = 0; r < repeats; ++r) {
    const vec *x = (const vec *)own;
    __asm__ volatile("" ::: "memory");
    for (i64 i = 0; i + 8 <= n; i += 8) {
      s0 += x[i] + x[i + 1]; s1 += x[i + 2] + x[i + 3];
      s2 += x[i + 4] + x[i + 5]; s3 += x[i + 6] + x[i + 7];
    }
  }
  *(vec *)out = s0 + s1 + s2 + s3;
}
static __attribute__((noinline)) void write(float *own, float *out, i64 repeats, i64 count) {
  const i64 n = count / LANES;
  const vec a = *(vec *)out;
  for (i64 r = 0; r < repeats; ++r) {
    vec *x = (vec *)own;
    __asm__ volatile("" ::: "memory");
    for (i64 i = 0; i + 4 <= n; i += 4) {
      x[i] = a; x[i + 1] = a; x[i + 2] = a; x[i + 3] = a;
      __asm__ volatile("" ::: "memory");
    }
  }
}
static __attribute__((noinline)) void copy(float *own, float *out, i64 repeats, i64 count) {
  const i64 n = count / LANES / 2;
  for (i64 r = 0; r < repeats; ++r) {
    const vec *x = (const vec *)own;
    vec *y = (vec *)own + n;
    for (i64 i = 0; i + 4 <= n; i += 4) {
      const vec a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
      y[i] = a; y[i + 1] = b; y[i + 2] = c; y[i + 3] = d;
      __asm__ volatile("" ::: "memory");
    }
  }
}
static __attribute__((noinline)) void touch(float *own, float *out, i64 repeats, i64 count) {
  for (i64 i = 0; i < count; i += 1024) own[i] = 1.0f;
}
"""


def source(processor: Processor) -> Source:
    """The probes for the vector width of a processor; ``args[0]`` says which of `PROBES` to run."""
    lanes = processor.lanes
    chains = [f"c{i}" for i in range(_CHAINS)]
    chained = {
        "fma": "{c} = {c} * a + b;",
        "vector": '{c} = {c} + a; __asm__("" : "+{register}"({c}));',
        "exp": "{c} = exp2_of({c});",
    }
    register = _register(lanes)
    functions = [_EXP.format(register=register)]
    for name, step in chained.items():
        steps = "\n    ".join(step.format(c=c, register=register) for c in chains)
        starts = ", ".join(f"{c} = a * {i}.0f" for i, c in enumerate(chains))
        functions.append(
            _CHAINED.format(name=name, starts=starts, steps=steps, total=" + ".join(chains))
        )
    functions.append(_STREAMS.replace("LANES", str(lanes)))
    cases = "\n".join(
        f"      case {i}: {name}(own, out, repeats, count); break;"
        for i, name in enumerate(PROBES)
        if name != "launch"
    )
    symbol = f"ceilings_{lanes}"
    text = _FRAME.format(
        width=4 * lanes, functions="\n".join(functions), symbol=symbol,
        launch=PROBES.index("launch"), cases=cases,
    )  # fmt: skip
    return Source(symbol, text)


def operations(probe: str, processor: Processor) -> int:
    """Flops of one repeat of a chained probe on one thread; a multiply-add is two."""
    return _CHAINS * processor.lanes * (2 if probe == "fma" else 1)


def _register(lanes: int) -> str:
    """The letter by which inline assembly asks for a vector register."""
    import platform

    arm = platform.machine().lower() in ("arm64", "aarch64")
    return "w" if arm else "v" if lanes == 16 else "x"
