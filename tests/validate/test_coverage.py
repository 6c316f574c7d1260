"""docs/coverage.md is what validation/coverage.py makes of its rows."""

from __future__ import annotations

from validate.test_published import HERE, script


def test_the_page_of_coverage_is_up_to_date():
    held = (HERE.parent / "docs" / "coverage.md").read_text(encoding="utf-8")
    assert script("coverage").page() == held


def test_intervals_hold_about_what_they_say():
    """Over all groups of all draws, more than three in four rows and not all."""
    rows = script("coverage")._rows()
    inside, n = (sum(int(r[k]) for r in rows) for k in ("inside", "rows"))
    assert n > 1000 and 0.75 < inside / n < 0.92
