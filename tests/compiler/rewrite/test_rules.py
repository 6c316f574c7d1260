"""Every rule is true, and wrong rules are found out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from compiler.rewrite.mutants import mutants
from maquette.compiler.rewrite import BLOCKS, FINITE, RULES, Rule
from maquette.compiler.rewrite.facts import Untyped
from maquette.compiler.rewrite.terms import parse_term
from maquette.compiler.rewrite.verify import Flaw, exhaustive_instances, flaw, tried
from maquette.errors import ProgramError

EVERY = (*RULES, *FINITE, *BLOCKS)
# What a partial rule claims is mended where it is wrong; see `test_mend`.
ALL = [mutant for rule in EVERY if not (rule.partial or rule.cuts) for _, mutant in mutants(rule)]
# Rejections that need no luck: a name of one kind where another belongs.
CONFUSED = (NameError, KeyError, TypeError, AttributeError)


@pytest.mark.parametrize("rule", EVERY, ids=lambda r: r.name)
def test_rule_over_a_finite_field(rule):
    found = tried(rule, wanted=25)
    assert isinstance(found, int) and found >= 8, f"{rule}\n{found}"


@pytest.mark.parametrize("rule", EVERY, ids=lambda r: r.name)
def test_rule_by_the_interpreter(rule):
    """Floating point on numbers of size about one, with the real exponentials and all."""
    found = tried(rule, wanted=6, seed=3, by="interpreter")
    assert isinstance(found, int) and found >= 2, f"{rule}\n{found}"


def verdict(mutant: Rule) -> str:
    """How a mutant is rejected, or why it need not be; ``missed`` if neither."""
    more = 3 if any("fresh" in text for _, text in mutant.let) else 1  # names must meet by chance
    try:
        found = tried(mutant, wanted=24 * more, tries=250 * more)
    except CONFUSED:
        return "confused"
    if isinstance(found, Flaw):
        return found.kind
    rng = np.random.default_rng(0)
    count = 0
    try:
        for instance in exhaustive_instances(mutant, axes=2, most=1200):
            count += instance is not None
            if instance is not None and flaw(mutant, instance, rng) is not None:
                return "missed"
    except Untyped:
        return "missed"
    return "equivalent" if count or found else "never applies"


def test_there_are_a_thousand_mutants():
    assert len(ALL) >= 1000


def test_mutants_are_rejected(record_property):
    """Equivalent ones, as all small instances show, are no mistakes and are not counted."""
    chosen = ALL
    counts = Counter(map(verdict, chosen))
    wrong = len(chosen) - counts["equivalent"] - counts["never applies"]
    record_property("verdicts", dict(counts))
    print(f"{len(chosen)} mutants: {dict(counts)}; {1 - counts['missed'] / wrong:.2%} rejected")
    assert wrong >= 0.8 * len(chosen)
    assert counts["missed"] <= 0.002 * wrong, counts
    assert counts["field"] >= 0.25 * wrong, "most mutants that make sense are caught by arithmetic"


@pytest.mark.parametrize(
    "wrong",
    [
        Rule("order", "sub(a, b)", "sub(b, a)", ""),
        Rule("captured", "dot(S, dot(T, a, b), c)", "dot(S | T, a, dot(NONE, b, c))", ""),
        Rule("half", "sum(S, add(a, b))", "add(sum(S, a), b)", "", when=("S <= a", "not S & b")),
        Rule("sign", "amax(S, neg(a))", "neg(amax(S, a))", ""),
        Rule("scale", "amax(S, mul(a, c))", "mul(amax(S, a), c)", "", when=("S <= a",)),
        Rule("edge", "f(shift(i, s, a))", "shift(i, s, f(a))", ""),
    ],
    ids=lambda r: r.name,
)
def test_classic_mistakes(wrong):
    assert isinstance(tried(wrong), Flaw)


def test_rules_print_as_they_are_written():
    rule = RULES[0]
    assert str(rule).startswith("reassociate: dot(S, dot(T, a, b), c)  =>  dot((S | T) & a, a, ")
    for known in EVERY:
        for term in (*known.left, *known.right):
            assert parse_term(str(term)) == term


def test_what_is_no_term():
    with pytest.raises(ProgramError, match="no term"):
        parse_term("a + b")
    assert len({r.name for r in EVERY}) == len(EVERY) and all(r.why for r in EVERY)
