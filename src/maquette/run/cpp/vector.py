"""C++ for vectors of the processor's width: types, loads, stores, shuffles; header-free.

``V`` holds `lanes` floats, ``VI`` as many 32-bit integers; a mask is a ``VI`` of 0 and -1.  Loads
are overloaded on the type they read: narrow floats widen to ``V``, integers to ``VI``, bytes of
booleans to a mask; 64-bit integers saturate.  Stores narrow again, bf16 by rounding to the nearest,
ties to even; ``stnt`` writes past the caches, and is to be followed by a ``fence``; ``stah``
fetches ahead what is written next, where the processor stops at the end of a page.

The text needs ``-O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast`` and must not be
compiled with -ffast-math: range reductions and NaN would not survive it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from maquette.errors import Fault, NotYet
from maquette.ir.dtypes import DType
from maquette.run.cpp.vector_math import FUNCTIONS, NEEDS

CTYPES: Mapping[str, str] = {
    "f32": "float",
    "bf16": "bf16",
    "f16": "_Float16",
    "i32": "int",
    "i64": "long",
    "int8": "signed char",
    "bool": "unsigned char",
}

_TYPES = """
#define FN static inline __attribute__((always_inline))
static constexpr int LANES = @LANES@;
typedef float V __attribute__((vector_size(4 * LANES)));
typedef int VI __attribute__((vector_size(4 * LANES)));
typedef unsigned VW __attribute__((vector_size(4 * LANES)));
typedef unsigned short VH __attribute__((vector_size(2 * LANES)));
typedef short VS __attribute__((vector_size(2 * LANES)));
typedef _Float16 VF16 __attribute__((vector_size(2 * LANES)));
typedef char VC __attribute__((vector_size(LANES)));
typedef signed char VB __attribute__((vector_size(LANES)));
typedef unsigned char VUB __attribute__((vector_size(LANES)));
typedef V VU __attribute__((aligned(4), may_alias));
typedef VI VIU __attribute__((aligned(4), may_alias));
typedef VH VHU __attribute__((aligned(2), may_alias));
typedef VF16 VF16U __attribute__((aligned(2), may_alias));
typedef VB VBU __attribute__((aligned(1), may_alias));
typedef VUB VUBU __attribute__((aligned(1), may_alias));
struct bf16 { unsigned short bits; };
FN V splat(float x) { return x - V{}; }
FN VI splati(int x) { return x - VI{}; }
FN VI splatm(bool x) { return splati(-(int)x); }
FN V sel(VI m, V a, V b) { return m ? a : b; }
FN VI sel(VI m, VI a, VI b) { return m ? a : b; }
FN V tofloat(VI x) { return __builtin_convertvector(x, V); }
FN VI toint(V x) { return __builtin_convertvector(x, VI); }
FN float asfloat(unsigned b) { float x; __builtin_memcpy(&x, &b, 4); return x; }
FN unsigned asbits(float x) { unsigned b; __builtin_memcpy(&b, &x, 4); return b; }
FN VI lane() { VI r; for (int i = 0; i < LANES; i++) r[i] = i; return r; }
"""

_THREADS = """
#ifdef _OPENMP
#ifdef __clang__  // of the runtime that forked: another one's omp_get_thread_num may be in scope
extern "C" int __kmpc_bound_thread_num(void *);
FN long thread() { return __kmpc_bound_thread_num(nullptr); }
#else
extern "C" int omp_get_thread_num();
FN long thread() { return omp_get_thread_num(); }
#endif
#else
FN long thread() { return 0; }
#endif
"""

_LOADS = """
FN V ld(const float *p) { return *(const VU *)p; }
#if defined(__AVX512F__) && @LANES@ == 16 && !defined(__clang__)  // gcc widens piece by piece
FN VI widened(VB x) { return (VI)__builtin_ia32_pmovsxbd512_mask((VC)x, VI{}, 0xffff); }
FN VI widened(VUB x) { return (VI)__builtin_ia32_pmovzxbd512_mask((VC)x, VI{}, 0xffff); }
FN VW widened(VH x) { return (VW)__builtin_ia32_pmovzxwd512_mask((VS)x, VI{}, 0xffff); }
FN V widened(VF16 x) { return __builtin_ia32_vcvtph2ps512_mask((VS)x, V{}, 0xffff, 4); }
#else
FN VI widened(VB x) { return __builtin_convertvector(x, VI); }
FN VI widened(VUB x) { return __builtin_convertvector(x, VI); }
FN VW widened(VH x) { return __builtin_convertvector(x, VW); }
FN V widened(VF16 x) { return __builtin_convertvector(x, V); }
#endif
FN V ld(const bf16 *p) { return (V)(widened(*(const VHU *)p) << 16); }
FN V ld(const _Float16 *p) { return widened(*(const VF16U *)p); }
FN VI ld(const int *p) { return *(const VIU *)p; }
FN VI ld(const signed char *p) { return widened(*(const VBU *)p); }
FN VI ld(const unsigned char *p) { return widened(*(const VUBU *)p) != 0; }
FN int low(long x) { return x > 0x7fffffffL ? 0x7fffffff : x < ~0x7fffffffL ? ~0x7fffffff : x; }
FN VI ld(const long *p) { VI r; for (int i = 0; i < LANES; i++) r[i] = low(p[i]); return r; }
template <class T> FN auto ldn(const T *p, int n) -> decltype(ld(p)) {
  T t[LANES] = {};
  for (int i = 0; i < n; i++) t[i] = p[i];
  return ld(t);
}
template <class T> FN auto ldm(const T *p, VI m) -> decltype(ld(p)) {
  T t[LANES] = {};
  for (int i = 0; i < LANES; i++) if (m[i]) t[i] = p[i];
  return ld(t);
}
template <class T> FN auto lds(const T *p, long stride) -> decltype(ld(p)) {
  T t[LANES];
  for (int i = 0; i < LANES; i++) t[i] = p[i * stride];
  return ld(t);
}
template <class T> FN auto ld2(const T *p) -> decltype(ld(p)) {  // every other element
  const auto a = ld(p), b = ld(p + LANES - 1);
  return __builtin_shufflevector(a, b, @2 * j + (2 * j >= LANES)@);
}
template <class T> FN auto ga(const T *p, VI at) -> decltype(ld(p)) {
  T t[LANES];
  for (int i = 0; i < LANES; i++) t[i] = p[at[i]];
  return ld(t);
}
template <class T> FN auto gam(const T *p, VI at, VI m) -> decltype(ld(p)) {
  T t[LANES] = {};
  for (int i = 0; i < LANES; i++) if (m[i]) t[i] = p[at[i]];
  return ld(t);
}
FN float ls(const float *p) { return *p; }
FN float ls(const bf16 *p) { return asfloat((unsigned)p->bits << 16); }
FN float ls(const _Float16 *p) { return (float)*p; }
FN long ls(const int *p) { return *p; }
FN long ls(const long *p) { return low(*p); }
FN long ls(const signed char *p) { return *p; }
FN bool ls(const unsigned char *p) { return *p != 0; }
#if defined(__AVX512F__) && defined(__AVX512DQ__) && @LANES@ == 16
FN V ldn(const float *p, int n) {
  return __builtin_ia32_loadups512_mask((const float *)p, V{}, (1u << n) - 1);
}
FN V ldm(const float *p, VI m) {
  return __builtin_ia32_loadups512_mask(p, V{}, __builtin_ia32_cvtd2mask512(m));
}
FN V ga(const float *p, VI at) { return __builtin_ia32_gathersiv16sf(V{}, p, at, 0xffff, 4); }
FN V gam(const float *p, VI at, VI m) {
  return __builtin_ia32_gathersiv16sf(V{}, p, at, __builtin_ia32_cvtd2mask512(m), 4);
}
FN V lds(const float *p, long stride) { return ga(p, lane() * (int)stride); }
#endif
"""

_STORES = """
FN VH narrow(V x) {
  VW b = (VW)x;
  VW r = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
  r = x != x ? (b >> 16) | 0x40 : r;
  return __builtin_convertvector(r, VH);
}
FN void st(float *p, V x) { *(VU *)p = x; }
FN void st(bf16 *p, V x) { *(VHU *)p = narrow(x); }
FN void st(_Float16 *p, V x) { *(VF16U *)p = __builtin_convertvector(x, VF16); }
FN void st(int *p, VI x) { *(VIU *)p = x; }
FN void st(long *p, VI x) { for (int i = 0; i < LANES; i++) p[i] = x[i]; }
FN void st(signed char *p, VI x) { *(VBU *)p = __builtin_convertvector(x, VB); }
FN void st(unsigned char *p, VI m) { *(VBU *)p = __builtin_convertvector(m & 1, VB); }
template <class T, class X> FN void stn(T *p, X x, int n) {
  T t[LANES];
  st(t, x);
  for (int i = 0; i < n; i++) p[i] = t[i];
}
template <class T, class X> FN void sts(T *p, X x, long stride, int n) {
  T t[LANES];
  st(t, x);
  for (int i = 0; i < n; i++) p[i * stride] = t[i];
}
FN void ss(float *p, float x) { *p = x; }
FN void ss(bf16 *p, float x) {
  unsigned b = asbits(x);
  p->bits = x != x ? (b >> 16) | 0x40 : (b + 0x7fff + ((b >> 16) & 1)) >> 16;
}
FN void ss(_Float16 *p, float x) { *p = (_Float16)x; }
FN void ss(int *p, long x) { *p = (int)x; }
FN void ss(long *p, long x) { *p = x; }
FN void ss(signed char *p, long x) { *p = (signed char)x; }
FN void ss(unsigned char *p, bool x) { *p = x; }
#if defined(__AVX512F__) && @LANES@ == 16
FN void stn(float *p, V x, int n) {
  __builtin_ia32_storeups512_mask(p, x, (1u << n) - 1);
}
#endif
"""

_PAST = """
FN void stnt(float *p, V x) {
#if defined(__clang__)
  if (((unsigned long)p & (sizeof(V) - 1)) == 0) __builtin_nontemporal_store(x, (V *)p);
  else st(p, x);
#elif defined(__AVX512F__) && @LANES@ == 16
  if (((unsigned long)p & 63) == 0) __builtin_ia32_movntps512(p, x);
  else st(p, x);
#elif defined(__AVX__) && @LANES@ == 8
  if (((unsigned long)p & 31) == 0) __builtin_ia32_movntps256(p, x);
  else st(p, x);
#else
  st(p, x);
#endif
}
template <class T, class X> FN void stnt(T *p, X x) { st(p, x); }
template <class T, class X> FN void stah(T *p, X x) {  // what follows a page is fetched meanwhile
  __builtin_prefetch((const char *)p + 4096, 1);
  st(p, x);
}
FN void fence() {
#if defined(__SSE__)
  __builtin_ia32_sfence();
#endif
}
"""

_ARITHMETIC = """
#if defined(__AVX512F__) && @LANES@ == 16  // of two, the second where one is NaN
#ifdef __clang__
FN V larger(V a, V b) { return __builtin_ia32_maxps512(a, b, 4); }
FN V smaller(V a, V b) { return __builtin_ia32_minps512(a, b, 4); }
#else
FN V larger(V a, V b) { return __builtin_ia32_maxps512_mask(a, b, V{}, 0xffff, 4); }
FN V smaller(V a, V b) { return __builtin_ia32_minps512_mask(a, b, V{}, 0xffff, 4); }
#endif
#else
FN V larger(V a, V b) { return a > b ? a : b; }
FN V smaller(V a, V b) { return a < b ? a : b; }
#endif
FN V vmax(V a, V b) { return a != a ? a : larger(a, b); }
FN V vmin(V a, V b) { return a != a ? a : smaller(a, b); }
FN VI vmax(VI a, VI b) { return a > b ? a : b; }
FN VI vmin(VI a, VI b) { return a < b ? a : b; }
FN float vmax(float a, float b) { float m = a > b ? a : b; return a != a ? a : m; }
FN float vmin(float a, float b) { float m = a < b ? a : b; return a != a ? a : m; }
FN long vmax(long a, long b) { return a > b ? a : b; }
FN long vmin(long a, long b) { return a < b ? a : b; }
FN V vabs(V x) { return (V)((VI)x & 0x7fffffff); }
FN float vabs(float x) { return __builtin_fabsf(x); }
FN VI vabs(VI x) { return x < 0 ? -x : x; }
FN long vabs(long x) { return x < 0 ? -x : x; }
FN long fdiv(long a, long b) { long q = a / b; return q - (a % b != 0 && (a % b < 0) != (b < 0)); }
FN long fmod(long a, long b) { return a - fdiv(a, b) * b; }
FN VI fdiv(VI a, VI b) {
  VI q = a / b, r = a - q * b;
  return q + (((r != 0) & ((r < 0) != (b < 0))));
}
FN VI fmod(VI a, VI b) { return a - fdiv(a, b) * b; }
FN V vfloor(V x) {
  float t[LANES];
  st(t, x);
  for (int i = 0; i < LANES; i++) t[i] = __builtin_floorf(t[i]);
  return ld(t);
}
FN V fdiv(V a, V b) { return vfloor(a / b); }
FN V fmod(V a, V b) { return a - vfloor(a / b) * b; }
FN float fdiv(float a, float b) { return __builtin_floorf(a / b); }
FN float fmod(float a, float b) { return a - __builtin_floorf(a / b) * b; }
"""

_ACROSS = """
template <int S> FN void swap_blocks(V *q) {  // columns of rows S apart
  for (int i = 0; i < LANES; i++)
    if (!(i & S)) {
      V a = q[i], b = q[i | S];
      q[i] = __builtin_shufflevector(a, b, @j & S ? j - S + LANES : j@);
      q[i | S] = __builtin_shufflevector(a, b, @j & S ? j + LANES : j + S@);
    }
}
FN void transpose(V *q) {
  swap_blocks<1>(q);
  swap_blocks<2>(q);
  if (LANES > 4) swap_blocks<4 % LANES>(q);
  if (LANES > 8) swap_blocks<8 % LANES>(q);
}
template <int N> FN V rotate(V x) {
  return __builtin_shufflevector(x, x, @(j + N) & (LANES - 1)@);
}
template <int N> FN VI rotate(VI x) {
  return __builtin_shufflevector(x, x, @(j + N) & (LANES - 1)@);
}
template <int N> FN V shifted(V x, V fill) {
  return __builtin_shufflevector(x, fill, @j < N ? LANES : j - N@);
}
template <int N> FN VI shifted(VI x, VI fill) {
  return __builtin_shufflevector(x, fill, @j < N ? LANES : j - N@);
}
"""


def prelude(lanes: int, functions: Iterable[str] = ()) -> str:
    """The text that generated code starts with: vectors of `lanes`, and the functions named.

    >>> "float exp1" in prelude(16, ["exp"]), "V vsin" in prelude(16, ["exp"])
    (True, False)
    """
    wanted: list[str] = []
    for name in functions:
        wanted += [n for n in (*NEEDS.get(name, ()), name) if n not in wanted]
    parts = [
        _TYPES,
        _THREADS,
        _LOADS,
        _STORES,
        _PAST,
        _ARITHMETIC,
        _ACROSS,
        *(FUNCTIONS[n] for n in wanted),
    ]
    text = "".join(parts).replace("@LANES@", str(lanes)).lstrip()
    return re.sub("@(.+?)@", lambda each: _each(each[1], lanes), text)


def _each(expression: str, lanes: int) -> str:
    """An expression of ``j`` for every lane: what a shuffle picks has to be constant for clang."""
    return ", ".join(re.sub(r"\bj\b", str(j), expression) for j in range(lanes))


def ctype(held: DType) -> str:
    """The C type of an element in memory."""
    if held.name not in CTYPES:
        known = ", ".join(CTYPES)
        raise NotYet(Fault("", f"generated code cannot read {held}", f"one of {known}"))
    return CTYPES[held.name]
