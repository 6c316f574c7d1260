"""Vector transcendentals in C++: polynomials fitted to 1e-8, classes of NaN and inf as NumPy's.

Every function ``vNAME(V)`` has a scalar form ``NAME1(float)`` that uses it.  Errors in units in the
last place, measured beside double precision over the whole range: exp, log and sqrt 1, erf, sin and
cos 2, sigmoid and softplus 3, tanh 4; tests hold that.  ``weight(V)`` is a power of two of what is
at most 0, to 2e-7 and as much of the exponent: what it weighs is summed with larger weights.
"""

from __future__ import annotations

from collections.abc import Mapping

_POWER = """
FN V pow2(V p, V n) {  // p * 2^n, n whole
#if defined(__AVX512F__) && @LANES@ == 16
  return __builtin_ia32_scalefps512_mask(p, n, V{}, 0xffff, 4);
#else
  VI k = toint(n), h = k >> 1;
  return p * (V)((h + 127) << 23) * (V)((k - h + 127) << 23);
#endif
}
"""

_EXP = """
FN V within(V x) {  // exp of what is from -104 to 89, or NaN
  V n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  V r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V p = 0.00138144648f * r + 0.00836878062f;
  p = p * r + 0.0416683943f;
  p = p * r + 0.166665201f;
  p = p * r + 0.499999934f;
  return pow2(p * (r * r) + r + 1.0f, n);
}
FN V vexp(V x) { return within(smaller(splat(89.0f), larger(splat(-104.0f), x))); }
FN float exp1(float x) { return vexp(splat(x))[0]; }
"""

_LOG = """
FN V vlog(V x) {
  VI tiny = x < 1.17549435e-38f;
  V y = tiny ? x * 8388608.0f : x;
  VI b = (VI)y;
  VI e = ((b - 0x3f3504f3) >> 23);
  V f = (V)(b - (e << 23)) - 1.0f;
  V n = tofloat(e + (tiny ? VI{} - 23 : VI{}));
  V p = -0.0763442984f * f + 0.127615503f;
  p = p * f - 0.131601951f;
  p = p * f + 0.142017625f;
  p = p * f - 0.166233565f;
  p = p * f + 0.200012267f;
  p = p * f - 0.250008211f;
  p = p * f + 0.333333317f;
  V z = f * f, low = n * -2.12194440e-4f;
  V r = f + (p * (z * f) - 0.5f * z + low) + n * 0.693359375f;
  r = x > 3.40282347e38f ? x : r;
  r = x == 0.0f ? splat(-__builtin_inff()) : r;
  r = x < 0.0f ? splat(__builtin_nanf("")) : r;
  return x != x ? x : r;
}
FN float log1(float x) { return vlog(splat(x))[0]; }
"""

# 2^y of y at most 0, to 2e-7 · max(1, -y) of the result: small weights may be less accurate.
_WEIGHT = """
#if defined(__AVX512DQ__) && @LANES@ == 16
FN V weight(V y) {  // what scales takes the whole part of y itself, and -inf has no fraction
#ifdef __clang__
  V r = __builtin_ia32_reduceps512_mask(y, 1, V{}, 0xffff, 4);
#else
  V r = __builtin_ia32_reduceps512_mask(y, 1, V{}, 0xffff);
#endif
  V p = 0.00186713f * r + 0.00901703f;
  p = p * r + 0.05579991f;
  p = p * r + 0.24016445f;
  p = p * r + 0.69315131f;
  return pow2(p * r + 1.0f, y);
}
#else
FN V weight(V y) {
  y = larger(splat(-150.0f), y);
  V n = (y + 12582912.0f) - 12582912.0f;
  V r = y - n;
  V p = 0.00132646796f * r + 0.00967150275f;
  p = p * r + 0.0555073395f;
  p = p * r + 0.240222424f;
  p = p * r + 0.693147004f;
  return pow2(p * r + 1.0f, n);
}
#endif
"""

# (1 - t) / (1 + t) of t = exp(-2|x|), whose distance from 1 is kept: accurate near 0 as well.
_TANH = """
FN V vtanh(V x) {
  V y = smaller(splat(12.0f), vabs(x)) * -2.88539008f;
  V n = (y + 12582912.0f) - 12582912.0f;
  V r = y - n;
  V p = 0.000154035137f * r + 0.00133907371f;
  p = p * r + 0.0096182375f;
  p = p * r + 0.0555035743f;
  p = p * r + 0.240226498f;
  p = p * r + 0.693147188f;
  V s = pow2(splat(1.0f), n);
  V t = p * r * s + (s - 1.0f);
  V q = t / (t + 2.0f);
  return (V)(((VI)q & 0x7fffffff) | ((VI)x & (int)0x80000000));
}
FN float tanh1(float x) { return vtanh(splat(x))[0]; }
"""

_SIGMOID = """
FN V vsigmoid(V x) {
  V e = within(larger(splat(-104.0f), (V)((VI)x | (int)0x80000000)));
  return (x < 0.0f ? e : splat(1.0f)) / (1.0f + e);
}
FN float sigmoid1(float x) { return vsigmoid(splat(x))[0]; }
"""

_SOFTPLUS = """
FN V vsoftplus(V x) {
  V e = vexp((V)((VI)x | (int)0x80000000));
  V u = 1.0f + e;
  V d = u - 1.0f;
  V l = d == 0.0f ? e : vlog(u) * (e / d);
  return vmax(x, splat(0.0f)) + l;
}
FN float softplus1(float x) { return vsoftplus(splat(x))[0]; }
"""

_ERF = """
FN V verf(V x) {
  V a = vabs(x), z = x * x;
  V p = -0.00059538698f * z + 0.0049859713f;
  p = p * z - 0.0267617467f;
  p = p * z + 0.112816836f;
  p = p * z - 0.376124813f;
  p = p * z + 0.128379148f;
  V small = p * x + x;
  V t = smaller(splat(4.0f), a);
  V q = -0.000213985925f * t + 0.00321496309f;
  q = q * t - 0.0228899865f;
  q = q * t + 0.105261875f;
  q = q * t + 0.635718292f;
  q = q * t + 0.128514367f;
  V large = 1.0f - vexp(-(q * t + t));
  large = (V)((VI)large | ((VI)x & (int)0x80000000));
  return a < 0.93f ? small : large;
}
FN float erf1(float x) { return verf(splat(x))[0]; }
"""

_CIRCLE = """
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
static constexpr float FAR = 9000.0f;  // beyond it the reduction below loses bits
#else
static constexpr float FAR = 100.0f;
#endif
FN V circle(V x, int shift) {
  V n = (x * 0.636619772f + 12582912.0f) - 12582912.0f;
  V r = x - n * 1.5703125f;
  r = r - n * 4.83751297e-4f;
  r = r - n * 7.54978942e-8f;
  r = r - n * 5.39030253e-15f;
  VI k = toint(n) + shift;
  V z = r * r;
  V s = 2.71736681e-6f * z - 0.000198392327f;
  s = s * z + 0.00833332906f;
  s = s * z - 0.166666666f;
  s = s * (z * r) + r;
  V c = 2.47993727e-5f * z - 0.00138888832f;
  c = c * z + 0.0416666666f;
  c = c * (z * z) - 0.5f * z + 1.0f;
  V y = (k & 1) == 0 ? s : c;
  return (V)((VI)y ^ ((k & 2) << 30));
}
FN bool any(VI m) { int t = 0; for (int i = 0; i < LANES; i++) t |= m[i]; return t; }
"""

_SIN = """
__attribute__((noinline)) static V sinfar(V x) {
  for (int i = 0; i < LANES; i++) x[i] = (float)__builtin_sin(x[i]);
  return x;
}
FN V vsin(V x) {
  if (__builtin_expect(any(vabs(x) > FAR), 0)) return sinfar(x);
  return circle(x, 0);
}
FN float sin1(float x) { return vsin(splat(x))[0]; }
"""

_COS = """
__attribute__((noinline)) static V cosfar(V x) {
  for (int i = 0; i < LANES; i++) x[i] = (float)__builtin_cos(x[i]);
  return x;
}
FN V vcos(V x) {
  if (__builtin_expect(any(vabs(x) > FAR), 0)) return cosfar(x);
  return circle(x, 1);
}
FN float cos1(float x) { return vcos(splat(x))[0]; }
"""

_SQRT = """
FN V vsqrt(V x) {
#if defined(__AVX512F__) && @LANES@ == 16 && defined(__clang__)
  return __builtin_ia32_sqrtps512(x, 4);
#elif defined(__AVX512F__) && @LANES@ == 16
  return __builtin_ia32_sqrtps512_mask(x, V{}, 0xffff, 4);
#else
  float t[LANES];
  st(t, x);
  for (int i = 0; i < LANES; i++) t[i] = __builtin_sqrtf(t[i]);
  return ld(t);
#endif
}
FN float sqrt1(float x) { return __builtin_sqrtf(x); }
"""

_POW = """
__attribute__((noinline)) static V vpow(V x, V y) {
  for (int i = 0; i < LANES; i++) x[i] = (float)__builtin_pow(x[i], y[i]);
  return x;
}
FN float pow1(float x, float y) { return (float)__builtin_pow(x, y); }
"""

FUNCTIONS: Mapping[str, str] = {
    "power": _POWER,
    "exp": _EXP,
    "log": _LOG,
    "weight": _WEIGHT,
    "tanh": _TANH,
    "sigmoid": _SIGMOID,
    "softplus": _SOFTPLUS,
    "erf": _ERF,
    "circle": _CIRCLE,
    "sin": _SIN,
    "cos": _COS,
    "sqrt": _SQRT,
    "pow": _POW,
}

NEEDS: Mapping[str, tuple[str, ...]] = {
    "exp": ("power",),
    "weight": ("power",),
    "tanh": ("power",),
    "sigmoid": ("power", "exp"),
    "softplus": ("power", "exp", "log"),
    "erf": ("power", "exp"),
    "sin": ("circle",),
    "cos": ("circle",),
}
