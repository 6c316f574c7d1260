import numpy as np
import pytest

from maquette.errors import InputError
from maquette.traffic import Requests, describe, head, scale

TRACE = Requests(
    arrival_ns=np.array([0, 10**9, 4 * 10**9]),
    input_tokens=np.array([20, 30, 20]),
    output_tokens=np.array([1, 2, 6]),
    priority=np.array([0, 1, 2]),
    block_hash=np.array([1, 2, 1, 2, 3, 1, 4]),
    block_start=np.array([0, 2, 5, 7]),
    block_tokens=10,
    source="three",
)
LOOP = Requests(*[np.ones(4, np.int64)] * 3, concurrency=2, source="loop")


def test_statistics_by_hand():
    found = describe(TRACE)
    assert (found.requests, found.span_s, found.rate_per_s) == (3, 4.0, 0.5)
    assert found.gap_cv == pytest.approx(0.5)  # gaps of 1 s and 3 s
    assert found.output_tokens.mean == 3 and found.output_tokens.max == 6
    assert found.cacheable_share == pytest.approx(3 / 7)
    labels = [label for label, _ in found.rows()]
    assert labels[:4] == ["requests", "span", "rate", "inter-arrival CV"]
    assert dict(found.rows())["cacheable blocks"] == "42.9%"
    assert dict(describe(LOOP).rows()).keys().isdisjoint({"span", "rate", "cacheable blocks"})


def test_scale_by_factor_and_to_a_rate():
    assert scale(TRACE, factor=2).arrival_ns.tolist() == [0, 5 * 10**8, 2 * 10**9]
    faster = scale(TRACE, rate=5.0)
    assert describe(faster).rate_per_s == pytest.approx(5)
    assert describe(faster).gap_cv == pytest.approx(0.5)
    assert "10 times as fast" in faster.source
    assert (faster.block_hash == TRACE.block_hash).all()


def test_head_keeps_the_blocks_of_the_first():
    two = head(TRACE, 2)
    assert len(two) == 2
    assert two.block_hash.tolist() == [1, 2, 1, 2, 3]
    assert two.block_start.tolist() == [0, 2, 5]
    assert two.priority.tolist() == [0, 1]
    assert head(TRACE, 99) is TRACE


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: scale(TRACE), "takes one of rate and factor"),
        (lambda: scale(TRACE, rate=1, factor=1), "takes one of rate and factor"),
        (lambda: scale(TRACE, factor=0), "scale factor: 0 is out of range"),
        (lambda: scale(LOOP, rate=3), "a closed loop has no rate"),
        (lambda: scale(head(TRACE, 1), rate=3), "all arrive at once"),
        (lambda: head(TRACE, 0), "requests: 0 is out of range"),
    ],
)
def test_what_cannot_be(call, says):
    with pytest.raises(InputError, match=says):
        call()
