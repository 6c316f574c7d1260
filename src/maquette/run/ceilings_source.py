"""The C++ that finds a processor's ceilings: chains of multiply-adds, streams, empty kernels.

Header-free, and with the very functions of generated code.
"""

from __future__ import annotations

from maquette.compiler.processor import Processor
from maquette.run.cpp.vector import prelude
from maquette.run.source import Source

# Of generated code: what each costs, in operations of "vector", is what counts weigh it by.
FUNCTIONS = ("div", "sqrt", "exp", "log", "tanh", "sigmoid", "softplus", "erf", "sin", "cos")
PROBES = ("fma", "vector", "read", "write", "copy", "add", "launch", "touch", *FUNCTIONS)
_CHAINS = 12  # independent ones: latency times units, and few enough for sixteen registers

_FRAME = """\
{prelude}
typedef float vec __attribute__((vector_size({width}), aligned({width})));
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
static __attribute__((noinline)) void probe_{name}(float *own, float *out, i64 repeats, i64) {{
  const vec a = *(vec *)out * 0.0f + 0.999f, b = *(vec *)out * 0.0f + 0.001f;
  vec {starts};
  for (i64 r = 0; r < repeats; ++r) {{
    __asm__ volatile("" ::: "memory");
    {steps}
  }}
  *(vec *)out = {total};
}}
"""

_STREAMS = """\
static __attribute__((noinline)) void probe_read(float *own, float *out, i64 repeats, i64 count) {
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
static __attribute__((noinline)) void probe_write(float *own, float *out, i64 repeats, i64 count) {
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
static __attribute__((noinline)) void probe_copy(float *own, float *out, i64 repeats, i64 count) {
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
static inline void past(vec *p, vec x) {
#if defined(__clang__)
  __builtin_nontemporal_store(x, p);
#elif defined(__AVX512F__) && LANES == 16
  __builtin_ia32_movntps512((float *)p, x);
#else
  *p = x;
#endif
}
static __attribute__((noinline)) void probe_add(float *own, float *out, i64 repeats, i64 count) {
  const i64 n = count / LANES / 3;
  for (i64 r = 0; r < repeats; ++r) {
    const vec *x = (const vec *)own, *y = x + n;
    vec *z = (vec *)own + 2 * n;
    for (i64 i = 0; i + 4 <= n; i += 4) {
      past(z + i, x[i] + y[i]); past(z + i + 1, x[i + 1] + y[i + 1]);
      past(z + i + 2, x[i + 2] + y[i + 2]); past(z + i + 3, x[i + 3] + y[i + 3]);
    }
  }
}
static __attribute__((noinline)) void probe_touch(float *own, float *out, i64 repeats, i64 count) {
  for (i64 i = 0; i < count; i += 1024) own[i] = 1.0f;
}
"""


def source(processor: Processor) -> Source:
    """The probes for the vector width of a processor; ``args[0]`` says which of `PROBES` to run."""
    lanes = processor.lanes
    opaque = f'__asm__("" : "+{_register(lanes)}"({{c}}));'
    chained = {"fma": "{c} = {c} * a + b;", "vector": "{c} = {c} + a; " + opaque}
    chained |= {f: f"{{c}} = v{f}({{c}}); " + opaque for f in FUNCTIONS}
    chained["div"] = "{c} = a / {c}; " + opaque
    symbol = f"ceilings_{lanes}"
    text = _FRAME.format(
        prelude=prelude(lanes, (f for f in FUNCTIONS if f != "div")),
        width=4 * lanes,
        functions="\n".join(
            [*(_chained(*c) for c in chained.items()), _STREAMS.replace("LANES", str(lanes))]
        ),
        symbol=symbol,
        launch=PROBES.index("launch"),
        cases="\n".join(
            f"      case {i}: probe_{name}(own, out, repeats, count); break;"
            for i, name in enumerate(PROBES)
            if name != "launch"
        ),
    )
    return Source(symbol, text)


def _chained(name: str, step: str) -> str:
    chains = [f"c{i}" for i in range(_CHAINS)]
    return _CHAINED.format(
        name=name,
        starts=", ".join(f"{c} = a * {i + 1}.0f" for i, c in enumerate(chains)),
        steps="\n    ".join(step.format(c=c) for c in chains),
        total=" + ".join(chains),
    )


def operations(probe: str, processor: Processor) -> int:
    """Flops of one repeat of a chained probe on one thread; a multiply-add is two."""
    return _CHAINS * processor.lanes * (2 if probe == "fma" else 1)


def _register(lanes: int) -> str:
    """The letter by which inline assembly asks for a vector register."""
    import platform

    arm = platform.machine().lower() in ("arm64", "aarch64")
    return "w" if arm else "v" if lanes == 16 else "x"
