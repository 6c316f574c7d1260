"""Every claim computes, and comes out as it is known to."""

from __future__ import annotations

import json
import re
import runpy
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from maquette.cli.main import main
from maquette.errors import UnknownName
from maquette.reproduce.registry import claim, claims
from maquette.reproduce.types import ORDER, Result, beside, between, exact, refuted, shape, within

VALIDATION = Path(__file__).parents[2] / "validation"
NAMES = list(claims())


@cache
def computed(name: str) -> Result:
    return claim(name).run()


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_is_the_one_expected(name: str) -> None:
    each = claim(name)
    result = computed(name)
    told = "\n".join(f"{r.what}: {r.published} {r.ours} {r.verdict} {r.note}" for r in result.rows)
    assert result.verdict == each.expected, told
    assert result.rows and each.source and each.title
    for row in result.rows:
        assert row.verdict != ORDER[-1] or row.note, f"{row.what} does not say why"


def test_a_result_is_as_good_as_its_weakest_row() -> None:
    good, close = exact("a", 1, 1.0, "x"), within("b", 10, 10.4, "x", 0.05)
    assert Result((good,)).verdict == "exact"
    assert Result((good, close)).verdict == "band"
    assert Result((good, shape("c", True, 1.0, "x"))).verdict == "shape"
    assert Result((good, refuted("d", 1, 2, "x", "why"))).verdict == "does not reproduce"


def test_one_row_stands_for_a_result():
    good, trend, bad = exact("a", 1, 1, "x"), shape("b", True, 2, "x"), refuted("c", 1, 2, "x", "w")
    assert Result((trend, good)).headline == good  # a trend has no published number
    assert Result((good, trend, bad)).headline == bad
    assert Result((beside("d", 1, "x"), trend)).headline == trend


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (exact("a", 88.5, 88.549, "%", 0.1), "exact"),
        (exact("a", 88.5, 88.56, "%", 0.1), ORDER[-1]),
        (within("a", 100, 94.9, "x", 0.05), ORDER[-1]),
        (within("a", -100, -104, "x", 0.05), "band"),
        (between("a", 1.5, 3, 3.0, "x"), "band"),
        (between("a", 1.5, 3, float("nan"), "x"), ORDER[-1]),
        (shape("a", False, 1, "x"), ORDER[-1]),
    ],
)
def test_rows_are_judged_by_their_rule(row, verdict) -> None:
    assert row.verdict == verdict


def test_the_command_lists_and_shows() -> None:
    runner = CliRunner()
    listed = json.loads(runner.invoke(main, ["reproduce", "--list", "--json"]).output)
    assert [c["name"] for c in listed["claims"]] == list(claims())
    one = json.loads(runner.invoke(main, ["reproduce", "node-tiers", "--json"]).output)
    assert one["claims"][0]["verdict"] == "exact"
    assert one["verdicts"] == {"exact": 1}
    assert "4.160" in runner.invoke(main, ["reproduce", "node-tiers"]).output


def test_an_unknown_claim_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="node-tiers"):
        claim("node-tier")


def test_what_is_fitted_is_said():
    for name in NAMES:
        result = computed(name)
        if any(row.fitted for row in result.rows):
            assert result.fitted, f"{name} does not say which constants were fitted"
        assert all(row.verdict for row in result.rows if row.fitted), name


def test_the_page_of_claims_says_what_is_computed_now():
    page = runpy.run_path(str(VALIDATION / "claims.py"))["page"]
    made = page({n: computed(n) for n in claims()})
    held = (VALIDATION.parent / "docs" / "claims.md").read_text(encoding="utf-8")
    number = r"-?\d[\d,]*\.?\d*"
    assert re.sub(number, "#", made) == re.sub(number, "#", held), "run python validation/claims.py"
    pairs = zip(re.findall(number, held), re.findall(number, made), strict=True)
    for old, new in ((float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs):
        assert new == pytest.approx(old, rel=0.02), "run python validation/claims.py"
