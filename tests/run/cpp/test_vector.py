"""Vector functions against NumPy and SciPy over all floats: error and classes."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from scipy import special

from maquette.run.build import build
from maquette.run.cpp.vector import prelude
from maquette.run.host import processor
from maquette.run.source import Source
from run.cpp.meaning import from_bf16, needs_compiler, to_bf16

pytestmark = needs_compiler

WANTED = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(0, x),
    "erf": special.erf,
    "sin": np.sin,
    "cos": np.cos,
    "sqrt": np.sqrt,
}
UNITS = {"exp": 1, "log": 1, "sqrt": 1, "erf": 2, "sin": 2, "cos": 2, "sigmoid": 3, "softplus": 3}
SPECIAL = [0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-39, 3.4e38, -3.4e38, 88.7, 88.8, -103.9]


def numbers() -> np.ndarray:
    """Every kind of float: random bits, uniform at several scales, special values."""
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 2**32, 1 << 16, dtype=np.uint32).view(np.float32)
    scales = [rng.uniform(-a, a, 1 << 13) for a in (1e-3, 0.7, 1, 5, 20, 110, 8000, 1e6)]
    rest = np.concatenate([*scales, np.resize(SPECIAL, 64)])
    return np.concatenate([bits, rest.astype(np.float32)])


@pytest.fixture(scope="module", params=[None, 4])
def functions(request):
    """All functions at the width of this processor, and at the narrowest; last, powers of two."""
    lanes = request.param or processor().lanes
    calls = "".join(f"if (*(long *)b[0] == {i}) y = v{n}(ld(x + i));" for i, n in enumerate(WANTED))
    calls += f"if (*(long *)b[0] == {len(WANTED)}) y = weight(ld(x + i));"
    text = prelude(lanes, [*WANTED, "weight"]) + (
        f'extern "C" void functions{lanes}(void *const *b) {{\n'
        "  const float *x = (const float *)b[1]; float *out = (float *)b[2];\n"
        "  for (long i = 0; i < *(long *)b[3]; i += LANES) {\n"
        f"    V y; {calls} st(out + i, y);\n  }}\n}}\n"
    )
    return build([Source(f"functions{lanes}", text)])[f"functions{lanes}"]


@pytest.mark.parametrize("name", WANTED)
@np.errstate(all="ignore")
def test_functions_over_all_floats(functions, name):
    x = numbers()
    y = np.empty_like(x)
    which, count = (np.array([n], np.int64) for n in (list(WANTED).index(name), len(x)))
    held = [which, x, y, count]
    functions((ctypes.c_void_p * 4)(*(h.ctypes.data for h in held)))
    exact = WANTED[name](x.astype(np.float64))
    want = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(want))
    infinite = np.isinf(want)
    np.testing.assert_array_equal(y[infinite], want[infinite])
    finite = np.isfinite(want)
    unit = np.spacing(np.maximum(np.abs(want[finite]), np.float32(1.2e-38)))
    error = np.abs(y[finite].astype(np.float64) - exact[finite]) / unit
    assert error.max() <= UNITS.get(name, 4), x[finite][error.argmax()]


@np.errstate(all="ignore")
def test_weights_are_powers_of_two(functions):
    rng = np.random.default_rng(5)
    drawn = [rng.uniform(-a, 0, 1 << 14) for a in (1e-3, 1, 20, 125)]
    special = np.resize([0, -0.0, -1, -1e9, -3.4e38, -np.inf, np.nan, -1e-45], 64)
    x = np.concatenate([*drawn, special]).astype(np.float32)
    y = np.empty_like(x)
    held = [np.array([len(WANTED)], np.int64), x, y, np.array([len(x)], np.int64)]
    functions((ctypes.c_void_p * 4)(*(h.ctypes.data for h in held)))
    want = np.exp2(x.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(want))
    assert (y[x == 0] == 1).all() and (y[x < -1000] == 0).all()
    some = want > 1e-38
    assert (np.abs(y / want - 1)[some] <= 2e-7 * np.maximum(1, -x[some])).all()


def test_bf16_rounds_to_the_nearest_even():
    """One vector at a time against integer arithmetic, NaN and inf included."""
    lanes = processor().lanes
    text = prelude(lanes) + (
        'extern "C" void rounding(void *const *b) {\n'
        "  for (long i = 0; i < *(long *)b[2]; i += LANES)\n"
        "    st((bf16 *)b[1] + i, ld((const float *)b[0] + i));\n}\n"
    )
    entry = build([Source("rounding", text)])["rounding"]
    x = numbers()
    y, count = np.zeros(len(x), np.uint16), np.array([len(x)], np.int64)
    entry((ctypes.c_void_p * 3)(x.ctypes.data, y.ctypes.data, count.ctypes.data))
    number = ~np.isnan(x)
    np.testing.assert_array_equal(y[number], to_bf16(x[number]))
    assert np.isnan(from_bf16(y[~number])).all()
