"""Functions of a few bits as tables: what they hold, and what is none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maquette.compiler.tile.tables import low_bits, table
from maquette.ir.scalar import Apply, Arg, Lit, Scalar
from maquette.ir.semantics import Numbers, scalar

BYTE = Apply("mod", (Arg(0), Lit(256)))
LOW = Apply("mod", (BYTE, Lit(16)))
HIGH = Apply("floordiv", (BYTE, Lit(16)))


def at(body: Scalar, value: int) -> float:
    """What `body` is where it reads `value`."""
    return float(scalar(body, Numbers({}), lambda _: value, None))


def centred(body: Scalar) -> Scalar:
    return Apply("sub", (Apply("to_f32", (body,)), Lit(8.0)))


@given(st.integers(-128, 255), st.sampled_from([LOW, HIGH]), st.sampled_from([16, 32]))
def test_a_table_holds_what_the_body_means(value, bits, lanes):
    found = table(centred(bits), lanes)
    assert found is not None and len(found.values) == lanes
    index = int(at(found.index, value))
    assert found.values[index % lanes] == at(centred(bits), value)


@given(st.integers(-1000, 1000), st.integers(0, 9), st.integers(0, 9))
def test_remainders_outside_mean_the_same(value, m, n):
    inner = Apply("mod", (Arg(0), Lit(1 << m)))
    for op in ("mod", "floordiv"):
        body = Apply(op, (inner, Lit(1 << n)))
        assert at(low_bits(body), value) == at(body, value)


def test_what_has_no_table():
    assert table(centred(LOW), 8) is None  # sixteen values in eight lanes
    assert table(Apply("mul", (centred(LOW), Arg(1))), 16) is None  # it reads something else
    assert table(centred(BYTE), 16) is None
    assert table(LOW, 16) is None  # no arithmetic to save
