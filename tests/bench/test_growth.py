"""Memory over the length: naive code grows with its square, what streams with its result."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from maquette.bench import growth as measured  # noqa: E402
from maquette.bench.attention import Shape  # noqa: E402
from maquette.bench.growth import growth  # noqa: E402
from maquette.bench.memory import extra_bytes  # noqa: E402
from maquette.report import growth as report  # noqa: E402

pytestmark = pytest.mark.skipif(extra_bytes(lambda: None) is None, reason="no peak is kept")
SHAPES = [Shape(s, heads=4, dim=16) for s in (1024, 512, 2048)]


def fused(function):
    return torch.nn.functional.scaled_dot_product_attention


def test_naive_code_is_quadratic_and_fused_attention_is_not():
    naive = growth("scale after", SHAPES, lambda function: function)
    linear = growth("scale after", SHAPES, fused)
    assert [p.seq for p in naive.points] == [512, 1024, 2048]
    assert 1.7 < naive.power < 2.3
    assert linear.power < 1.4
    for point in naive.points:
        assert point.eager is not None
        # The same code twice: a matrix of scores may or may not have been given back by the peak.
        apart = abs(point.eager.extra_bytes - point.ours.extra_bytes)
        assert apart < 1.1 * point.scores_bytes + 8e6
        assert point.ours.extra_bytes > point.scores_bytes


def test_where_eager_does_not_fit_it_is_left_out(monkeypatch):
    monkeypatch.setattr(measured, "lacking_room", lambda shape: "room" if shape.seq > 600 else "")
    found = growth("scale after", SHAPES[:2], fused)
    assert [p.eager is None for p in found.points] == [False, True]
    assert [p["eager_fits"] for p in report.document(found)["points"]] == [True, False]
    assert list(report.tables(found))
