"""The vector library that generated code begins with: types, loads, stores, elementary functions.

C++ without headers, in the vector extensions of GCC and clang, for any number of lanes.
Functions are accurate to a few units in the last place; infinities and NaN go where NumPy's go;
subnormal numbers may be flushed to zero.
"""

from __future__ import annotations

_TYPES = """\
constexpr int L = {lanes};
typedef float vf __attribute__((vector_size({bytes}), may_alias));
typedef int vi __attribute__((vector_size({bytes}), may_alias));
typedef float vf_at __attribute__((vector_size({bytes}), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
INLINE vf load(const float *p) {{ return *(const vf_at *)p; }}
INLINE void store(float *p, vf x) {{ *(vf_at *)p = x; }}
INLINE vf all(float x) {{ return x - vf{{}}; }}
INLINE vi alli(int x) {{ return x - vi{{}}; }}
INLINE vi iota() {{
  vi r{{}};
  for (int i = 0; i < L; ++i) r[i] = i;
  return r;
}}
INLINE vf to_float(vi x) {{ return __builtin_convertvector(x, vf); }}
INLINE vi to_int(vf x) {{ return __builtin_convertvector(x, vi); }}
INLINE vf vmax(vf a, vf b) {{ return (a > b) | (a != a) ? a : b; }}
INLINE vf vmin(vf a, vf b) {{ return (a < b) | (a != a) ? a : b; }}
INLINE vf vabs(vf x) {{ return (vf)((vi)x & 0x7fffffff); }}
"""

_EXP = """\
INLINE vf vexp(vf x) {
  vf t = x * 1.44269504088896341f + 12582912.f;
  vf n = t - 12582912.f;
  vf r = x - n * 0.693145751953125f;
  r -= n * 1.42860682030941723e-6f;
  vf p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.f);
  vf y = (vf)((vi)p + ((vi)t << 23));
  y = x < -87.3f ? vf{} : y;
  return x > 88.72f ? all(__builtin_inff()) : y;
}
"""


def prelude(lanes: int) -> str:
    """Definitions for vectors of `lanes` fp32 numbers.

    >>> "constexpr int L = 8;" in prelude(8)
    True
    """
    return _TYPES.format(lanes=lanes, bytes=4 * lanes) + _EXP
