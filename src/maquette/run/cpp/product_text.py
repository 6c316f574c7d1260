"""The text of a product that does not depend on its bodies: the register tile and the loops."""

from __future__ import annotations

# R rows by NV vectors of results stay in registers over `kc` points of the sum.  `next` is the
# piece of packed rows that comes after this one; it is fetched little by little while this runs.
MICRO = """
template <int R>
FN void micro(long kc, const float *a, const float *w, float *c, bool first, const char *next,
              long step) {
  V x[R][NV];
#pragma GCC unroll 64
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) x[r][v] = first ? V{} : *(const V *)(c + r * W + v * LANES);
  for (long k = 0; k < kc; ++k) {
    __builtin_prefetch(next + ((k * step) >> 10 << 6), 0, 2);
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) __builtin_prefetch(w + k * W + 8 * W + v * LANES);
    V y[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) y[v] = *(const V *)(w + k * W + v * LANES);
#pragma GCC unroll 64
    for (int r = 0; r < R; ++r) {
      const float s = a[k * AP + r];
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) x[r][v] += y[v] * s;
    }
  }
#pragma GCC unroll 64
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) *(V *)(c + r * W + v * LANES) = x[r][v];
}
// One strip of rows along the panels of a block, `kc` packed points from position `at` of K on.
// Before the last pass over a tile, `ahead` asks for the memory that its results will go to.
struct place { void *const *b; long batch, s, pb, rows; };
__attribute__((noinline)) static void strip(place at, long np, long kc, const float *a,
                                            const float *w, long ws, float *c, bool first,
                                            const float *after, bool last) {
  for (long k = 0; k < kc; k += SUB) {
    const long m = kc - k < SUB ? kc - k : SUB;
    const char *next = (const char *)(k + SUB < kc ? a + (k + SUB) * AP : after);
    for (long p = 0; p < np; ++p) {
      const char *from = next + p * m / np * AP * 4;
      const float *panel = w + p * ws + k * W;
      if (last && k + SUB >= kc) ahead(at.b, at.batch, at.s, at.rows, at.pb + p);
      float *const to = c + p * MR * W;
      if (at.rows == MR) micro<MR>(m, a + k * AP, panel, to, first && !k, from, STEP / np);
      @TAIL@
    }
  }
}
"""
TAIL = "else micro<@REST@>(m, a + k * AP, panel, to, first && !k, from, STEP / np);"

THREADS = """
#if defined(_OPENMP) && defined(__clang__)
extern "C" int __kmpc_bound_thread_num(void *);
extern "C" int __kmpc_bound_num_threads(void *);
#define TEAM const long t = __kmpc_bound_thread_num(nullptr), \\
                        team = __kmpc_bound_num_threads(nullptr);
#elif defined(_OPENMP)
extern "C" int omp_get_thread_num(void);
extern "C" int omp_get_num_threads(void);
#define TEAM const long t = omp_get_thread_num(), team = omp_get_num_threads();
#else
#define TEAM const long t = 0, team = 1;
#endif
"""
