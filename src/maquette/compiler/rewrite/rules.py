"""The rules: equalities of sums, products, maxima and views over named axes.

Each is tested over a finite field (rules with maxima over whole numbers) and by the interpreter;
see `verify`.
"""

from __future__ import annotations

from collections.abc import Sequence

from maquette.compiler.rewrite.terms import Rule

CONTRACTIONS = (
    Rule(
        "reassociate",
        "dot(S, dot(T, a, b), c)",
        "dot((S | T) & a, a, dot((S | T) - a, b, c))",
        "products associate, and a sum takes out the factor that does not vary along its axis",
        when=("not T & c", "real(a)", "(S | T) - a or b <= c or c <= b"),
    ),
    Rule(
        "rename-summed",
        "dot(S, dot(T, a, b), c)",
        "dot(S, dot(T - {i} | {k}, rename(i, k, a), rename(i, k, b)), c)",
        "a summed axis may have any name that its operands lack",
        when=("real(a)",),
        each=(("i", "T & c"),),
        let=(("k", "fresh(i, a | b | c | S | T)"),),
    ),
    Rule(
        "sum-of-product",
        "sum(S, dot(T, a, b))",
        "dot(S | T, a, b)",
        "a sum of a product is a contraction",
        when=("real(a)",),
    ),
    Rule(
        "sum-one-factor",
        "dot(S, a, b)",
        "dot(S & b, sum(S - b, a), b)",
        "axes of one factor alone are summed before the product",
        when=("S - b", "real(a)"),
    ),
    Rule(
        "sum-after-product",
        "dot(S, sum(T, a), b)",
        "dot(S | T, a, b)",
        "a factor that does not vary along the axis goes into the sum",
        when=("not T & b", "real(a)"),
    ),
    Rule("sum-of-sum", "sum(S, sum(T, a))", "sum(S | T, a)", "sums of sums are one sum"),
    Rule(
        "distribute",
        "dot(S, add(a, b), c)",
        "add(dot(S, a, c), dot(S, b, c))",
        "products distribute over sums",
        when=("S <= a | c", "S <= b | c", "real(a)", "constant(c)", "constant(a) or constant(b)"),
    ),
    Rule(
        "factor",
        "add(dot(S, a, c), dot(S, b, c))",
        "dot(S, add(a, b), c)",
        "a common factor is taken out",
        when=("real(a)", "constant(a) == constant(b)"),
    ),
    Rule(
        "factor-difference",
        "sub(dot(S, a, c), dot(S, b, c))",
        "dot(S, sub(a, b), c)",
        "a common factor is taken out of a difference",
        when=("real(a)", "constant(a) == constant(b)"),
    ),
    Rule(
        "sum-of-terms",
        "sum(S, add(a, b))",
        "add(sum(S, a), sum(S, b))",
        "the sum of a sum of terms, term by term",
        when=("S <= a", "S <= b", "real(a)"),
    ),
    Rule(
        "sum-of-shifted",
        "sum(S, add(a, b))",
        "add(sum(S, a), mul(extent(count(S, a)), b))",
        "what does not vary along the axis is added as often as the axis is long",
        when=("S <= a", "not S & b", "real(a)"),
    ),
    Rule(
        "terms-of-sum",
        "add(sum(S, a), sum(S, b))",
        "sum(S, add(a, b))",
        "sums over the same axes are one sum",
        when=("a <= b", "b <= a", "real(a)"),
    ),
    Rule(
        "sum-of-repeated",
        "sum(S, spread(J, a))",
        "mul(extent(count(S, spread_)), a)",
        "the same number many times is a product",
        when=("S == names(J)", "real(a)"),
        let=(("spread_", "spread(J, a)"),),
    ),
)  # fmt: skip

ARITHMETIC = (
    Rule(
        "associate-sum", "add(add(a, b), c)", "add(a, add(b, c))", "sums associate",
        when=("real(a)", "b <= c or c <= b"),
    ),
    Rule("one", "mul(a, 1)", "a", "one times a is a", when=("real(a)",)),
    Rule("zero", "add(a, 0)", "a", "a plus nothing is a", when=("real(a)",)),
    Rule("minus-zero", "sub(a, 0)", "a", "a less nothing is a", when=("real(a)",)),
    Rule("over-one", "div(a, 1)", "a", "a over one is a", when=("real(a)",)),
    Rule("negate-twice", "neg(neg(a))", "a", "the negative of the negative"),
    Rule("negate", "neg(a)", "mul(a, -1)", "a negative is a product", when=("real(a)",)),
    Rule("negative", "mul(a, -1)", "neg(a)", "a product with minus one is a negative",
         when=("real(a)",)),
    Rule("subtract", "add(a, neg(b))", "sub(a, b)", "adding a negative subtracts",
         when=("real(a)",)),
    Rule("add-negative", "sub(a, b)", "add(a, neg(b))", "subtracting adds a negative",
         when=("real(a)", "constant(b)")),
    Rule("divide", "div(a, b)", "mul(a, recip(b))", "division multiplies by the reciprocal",
         when=("real(a)", "b <= a", "not a <= b or constant(b)")),
    Rule("over", "mul(a, recip(b))", "div(a, b)", "a product with a reciprocal divides",
         when=("real(a)",)),
)  # fmt: skip

MAXIMA = (
    Rule("max-of-shifted", "amax(S, add(a, c))", "add(amax(S, a), c)",
         "adding what does not vary moves the maximum by as much", when=("S <= a", "not S & c")),
    Rule("min-of-shifted", "amin(S, add(a, c))", "add(amin(S, a), c)",
         "adding what does not vary moves the minimum by as much", when=("S <= a", "not S & c")),
    Rule("max-of-lowered", "amax(S, sub(a, c))", "sub(amax(S, a), c)",
         "taking away what does not vary moves the maximum by as much",
         when=("S <= a", "not S & c")),
    Rule("max-of-scaled", "amax(S, mul(a, c))", "mul(amax(S, a), c)",
         "a positive factor scales the maximum", when=("S <= a", "positive(c)")),
    Rule("max-of-negative", "amax(S, neg(a))", "neg(amin(S, a))",
         "the largest negative is that of the least"),
    Rule("max-of-max", "amax(S, amax(T, a))", "amax(S | T, a)", "maxima of maxima are one"),
    Rule("min-of-min", "amin(S, amin(T, a))", "amin(S | T, a)", "minima of minima are one"),
)  # fmt: skip

VIEWS = (
    Rule("slice-of-product", "slice(i, s, n, dot(S, a, b))",
         "dot(S, slice(i, s, n, a), slice(i, s, n, b))",
         "a slice of a product is the product of slices", when=("real(a)",)),
    Rule("slice-of-sum", "slice(i, s, n, sum(S, a))", "sum(S, slice(i, s, n, a))",
         "a slice of sums is sums of a slice"),
    Rule("slice-of-max", "slice(i, s, n, amax(S, a))", "amax(S, slice(i, s, n, a))",
         "a slice of maxima is maxima of a slice"),
    Rule("slice-of-one", "slice(i, s, n, f(a))", "f(slice(i, s, n, a))",
         "only what is kept is computed"),
    Rule("slice-of-two", "slice(i, s, n, g(a, b))", "g(slice(i, s, n, a), slice(i, s, n, b))",
         "only what is kept is computed"),
    Rule("slice-of-slice", "slice(i, s, n, slice(i, t, m, a))", "slice(i, t + s, n, a)",
         "a slice of a slice is one"),
    Rule("slice-of-first", "slice(i, s, n, concat(i, a, b))", "slice(i, s, n, a)",
         "a slice that lies in the first part", when=("at_most(s + n, size(i, a))",)),
    Rule("slice-of-last", "slice(i, s, n, concat(i, a, b))", "slice(i, s - size(i, a), n, b)",
         "a slice that lies in the last part", when=("at_most(size(i, a), s)",)),
    Rule("slice-of-parts", "slice(j, s, n, concat(i, a, b))",
         "concat(i, slice(j, s, n, a), slice(j, s, n, b))",
         "parts are sliced across one by one", when=("i != j",)),
    Rule("slice-of-shifted", "slice(i, s, n, shift(i, t, a))", "slice(i, s + t, n, a)",
         "a slice of what lies elsewhere is a slice there",
         when=("at_most(0, s + t)", "at_most(s + t + n, size(i, a))")),
    Rule("product-of-slice", "dot(S, slice(i, s, n, a), c)", "slice(i, s, n, dot(S, a, c))",
         "windows that overlap are slices of one product",
         when=("i not in S", "i not in c", "real(a)"), once=True),
    Rule("slice-of-all", "slice(i, s, n, a)", "a", "a slice of everything",
         when=("n == size(i, a)",)),
    Rule("rename-twice", "rename(j, k, rename(i, j, a))", "rename(i, k, a)",
         "the last name is the name"),
    Rule("rename-product", "rename(i, j, dot(S, a, b))",
         "dot(S, rename(i, j, a), rename(i, j, b))", "a product under other names",
         when=("j not in S", "real(a)")),
    Rule("split-product", "split(i, J, dot(S, a, b))", "dot(S, split(i, J, a), split(i, J, b))",
         "a product whose axis is split is one of split factors",
         when=("not names(J) & S", "real(a)")),
    Rule("split-merged", "split(i, J, merge(J, i, a))", "a", "splitting undoes merging"),
    Rule("merge-split", "merge(J, i, split(i, J, a))", "a", "merging undoes splitting"),
    Rule("sum-merged", "dot(S, merge(J, i, a), b)", "dot(S - {i} | names(J), a, split(i, J, b))",
         "a sum over a merged axis is one over its parts",
         when=("i in S", "i in b", "not names(J) & b", "not names(J) & S", "real(a)")),
    Rule("product-of-parts", "dot(S, concat(i, a, b), c)",
         "concat(i, dot(S, a, c), dot(S, b, c))", "parts are multiplied one by one",
         when=("i not in S", "i not in c", "real(a)")),
    Rule("parts-of-product", "concat(i, dot(S, a, c), dot(S, b, c))",
         "dot(S, concat(i, a, b), c)", "products with a common factor are one product",
         when=("i not in c", "i in a", "i in b", "i not in S", "real(a)")),
    Rule("sum-over-parts", "dot(S, concat(i, a, b), c)",
         "add(dot(S, a, slice(i, 0, size(i, a), c)), "
         "dot(S, b, slice(i, size(i, a), size(i, b), c)))",
         "a sum over parts is the sum of the parts' sums",
         when=("i in S", "i in c", "real(a)", "constant(a) or constant(b)")),
    Rule("product-of-shifted", "dot(S, shift(i, s, a), c)", "shift(i, s, dot(S, a, c))",
         "zeros from outside give zero products", when=("i not in S", "i not in c", "real(a)")),
)  # fmt: skip

SHARING = (
    Rule(
        "merge-products",
        "dot(S, x, v); dot(S, x, w)",
        "rename(k, i, slice(k, 0, size(i, v), y)); "
        "rename(k, j, slice(k, size(i, v), size(j, w), y))",
        "products of one operand are slices of one product with concatenated factors",
        when=("v - {i} == w - {j}", "constant(v)", "constant(w)", "i not in S", "j not in S",
              "not constant(x)", "real(x)", "S <= v", "S <= w"),
        each=(("i", "v - x"), ("j", "w - x")),
        let=(
            ("k", "fresh(i, v | w | x | S)"),
            ("y", "dot(S, x, concat(k, rename(i, k, v), rename(j, k, w)))"),
        ),
        once=True,
    ),
)  # fmt: skip

PARTIAL = (
    Rule(
        "map-of-shifted",
        "f(shift(i, s, a))",
        "shift(i, s, f(a))",
        "computed once and read shifted; outside, where the shift reads zeros, corrected",
        when=("real(a)",),
        partial=True,
    ),
    Rule(
        "pair-of-shifted",
        "g(shift(i, s, a), shift(i, s, b))",
        "shift(i, s, g(a, b))",
        "two values read at one distance are computed in place and read there",
        when=("real(a)", "real(b)"),
        partial=True,
    ),
    Rule(
        "shifted-with-fixed",
        "g(shift(i, s, a), c)",
        "shift(i, s, g(a, c))",
        "what does not vary along the axis is met before the shift; outside it meets zeros",
        when=("i not in c", "real(a)", "real(c)"),
        partial=True,
    ),
    Rule(
        "shift-twice",
        "shift(i, s, shift(i, t, a))",
        "shift(i, s + t, a)",
        "two shifts are one, but for what the first of them let fall off the end",
        when=("real(a)",),
        partial=True,
    ),
    Rule(
        "product-of-delayed",
        "dot(S, concat(i, z, slice(i, 0, n, a)), c)",
        "shift(i, 0 - size(i, z), dot(S, a, c))",
        "the product of what came before is that of now read later; what came first is multiplied",
        when=("size(i, a) == size(i, z) + n", "i not in S", "i not in c", "real(a)"),
        partial=True,
    ),
    Rule(
        "product-of-advanced",
        "dot(S, concat(i, slice(i, s, n, a), z), c)",
        "shift(i, s, dot(S, a, c))",
        "the product of what comes next is that of now read ahead; what comes last is multiplied",
        when=("size(i, a) == s + n", "size(i, z) == s", "i not in S", "i not in c", "real(a)"),
        partial=True,
    ),
    Rule(
        "pad-product",
        "dot(S, a, b)",
        "slice(i, 0, size(i, b), dot(S, a, concat(i, b, spread(Z, 0.0))))",
        "an awkward extent is computed up to a multiple of 16, and what is past it cut off",
        when=("constant(b)", "not constant(a)", "i not in S", "real(b)",
              "size(i, b).constant", "size(i, b).constant > 16", "size(i, b).constant % 16"),
        each=(("i", "b - a"),),
        let=(("Z", "padding(i, b, 16)"),),
        once=True,
    ),
)  # fmt: skip

# Where what goes is infinite, these make numbers of what was none: a row that a mask of -inf rules
# out altogether is no longer NaN.  For those who know that nothing is infinite; not searched
# unless they are asked for.
FINITE: Sequence[Rule] = (
    Rule("cancel-added", "sub(add(a, c), add(b, c))", "sub(a, b)", "what both sides add goes",
         when=("c <= a | b", "real(a)")),
    Rule("cancel-taken", "sub(sub(a, c), sub(b, c))", "sub(a, b)", "what both sides lose goes",
         when=("c <= a | b", "real(a)")),
)  # fmt: skip

# Block by block along a mask.  Not searched unless asked for: a mask of what came before makes a
# recurrence, whose chunked form (`variants`) is quicker, and nobody finds that one in the blocks.
BLOCKS: Sequence[Rule] = (
    Rule(
        "product-of-masked",
        "dot(S, where(m, dot(T, a, b), 0.0), c)",
        "dot(S, where(m, dot(T, a, b), 0.0), c)",
        "block by block: what a mask of coordinates rules out goes, what it keeps needs no mask",
        when=("mask(m)", "T", "real(a)"),
        each=(("i", "S & m"), ("j", "m - S")),
        once=True,
        cuts=(("i", "8"), ("j", "8")),
    ),
    Rule(
        "product-of-masked-out",
        "dot(S, where(m, 0.0, dot(T, a, b)), c)",
        "dot(S, where(m, 0.0, dot(T, a, b)), c)",
        "block by block: what a mask of coordinates rules out goes, what it keeps needs no mask",
        when=("mask(m)", "T", "real(a)"),
        each=(("i", "S & m"), ("j", "m - S")),
        once=True,
        cuts=(("i", "8"), ("j", "8")),
    ),
)  # fmt: skip

RULES: Sequence[Rule] = (*CONTRACTIONS, *ARITHMETIC, *MAXIMA, *VIEWS, *SHARING, *PARTIAL)
