"""Wrong rules, made from right ones by one small change."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from maquette.compiler.rewrite import Rule
from maquette.compiler.rewrite.terms import PARAMETERS

OTHERS = {  # what an operator is mistaken for
    "add": ("sub", "max", "mul"), "sub": ("add", "div"), "mul": ("add", "div"),
    "div": ("mul", "sub"), "neg": ("recip", "exp"), "recip": ("neg", "sqrt"),
    "sum": ("amax",), "amax": ("amin", "sum"), "amin": ("amax",), "f": ("neg", "tanh"),
    "g": ("add", "div"), "where": (),
}  # fmt: skip
# Conditions that say when a rule pays; without them it is as true as before.
PROFIT = ("real(", "constant(", "concatenated(", "size(i, b).constant", "or b <= c or",
          "b <= c or c <= b", "b <= a", "not a <= b", "S - b")  # fmt: skip


def mutants(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Every mutant of a rule, each with what was changed."""
    seen = {(rule.lhs, rule.rhs, rule.when, rule.each, rule.let)}
    for what, mutant in _all(rule):
        key = (mutant.lhs, mutant.rhs, mutant.when, mutant.each, mutant.let)
        if key not in seen and _closed(mutant):
            seen.add(key)
            yield what, replace(mutant, name=f"{rule.name}: {what}")


def _closed(rule: Rule) -> bool:
    """Whether the left side still binds whatever the right side names."""
    bound = {n for t in rule.left for n in _named(str(t))} | {n for n, _ in (*rule.each, *rule.let)}
    texts = [*map(str, rule.right), *rule.when, *(t for _, t in (*rule.each, *rule.let))]
    return all(_named(t) <= bound for t in texts)


def _named(text: str) -> set[str]:
    tree = ast.parse(text)
    calls = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    names = (n for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in calls)
    return {n.id for n in names} - {"NONE"}


def _all(rule: Rule) -> Iterator[tuple[str, Rule]]:
    scope = _scope(rule)
    sides = [("right side", rule.rhs, lambda t: replace(rule, rhs=t)),
             ("left side", rule.lhs, lambda t: replace(rule, lhs=t))]  # fmt: skip
    for name, text, put in sides:
        parts = text.split(";")
        for n, part in enumerate(parts):
            for what, other in changed(part, scope, left=name == "left side"):
                yield f"{name}: {what}", put(";".join([*parts[:n], other, *parts[n + 1 :]]))
    for n, (name, text) in enumerate(rule.let):
        for what, other in changed(text, scope):
            let = (*rule.let[:n], (name, other), *rule.let[n + 1 :])
            yield f"{name}: {what}", replace(rule, let=let)
    for n, (name, text) in enumerate(rule.each):
        for what, other in changed(text, scope):
            each = (*rule.each[:n], (name, other), *rule.each[n + 1 :])
            yield f"{name} in: {what}", replace(rule, each=each)
    for n, text in enumerate(rule.when):
        if any(text.startswith(p) or p in text for p in PROFIT):
            continue
        rest = rule.when[:n], rule.when[n + 1 :]
        yield f"without {text}", replace(rule, when=(*rest[0], *rest[1]))
        yield f"unless {text}", replace(rule, when=(*rest[0], f"not ({text})", *rest[1]))


def _scope(rule: Rule) -> dict[str, set[str]]:
    """The names of a rule by what they stand for: operands, sets, axes, sizes."""
    found: dict[str, set[str]] = {"operand": set(), "set": set(), "axis": set(), "size": set()}
    for side in (*rule.lhs.split(";"), *rule.rhs.split(";")):
        for node in ast.walk(ast.parse(side.strip(), mode="eval")):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                kinds = PARAMETERS.get(node.func.id, ())
                for kind, arg in zip(kinds, node.args, strict=False):
                    if isinstance(arg, ast.Name) and arg.id != "NONE" and kind in found:
                        found[kind].add(arg.id)
                for arg in node.args[len(kinds) :]:
                    if isinstance(arg, ast.Name) and node.func.id not in (
                        "size",
                        "axis",
                        "count",
                        "names",
                    ):
                        found["operand"].add(arg.id)
    found["operand"] -= found["set"] | found["axis"] | found["size"]
    return found


def changed(
    text: str, scope: dict[str, set[str]], *, left: bool = False
) -> Iterator[tuple[str, str]]:
    """Every text that differs from `text` at one place."""
    tree = ast.parse(text.strip(), mode="eval")
    for place, node in enumerate(ast.walk(tree)):
        for what, make in _changes(node, scope, left):
            other = ast.parse(text.strip(), mode="eval")
            target = list(ast.walk(other))[place]
            new = make(target)
            yield what, ast.unparse(_put(other, target, new))


def _changes(node, scope, left):
    """Ways to change one node of a text: what it is called, and a function of a fresh copy."""
    match node:
        case ast.Call(ast.Name(op), args):
            skip = len(PARAMETERS.get(op, ()))
            for other in OTHERS.get(op, ()):
                yield f"{op} becomes {other}", lambda n, o=other: ast.Call(ast.Name(o), n.args, [])
            for i in range(skip, len(args)):
                if op not in ("size", "axis", "fresh", "count", "padding", "inside"):
                    yield f"{op} dropped", lambda n, i=i: n.args[i]
            if len(args) - skip == 2 and op in ("sub", "div", "concat", "g", "where"):
                yield f"operands of {op} swapped", lambda n, s=skip: ast.Call(
                    n.func, [*n.args[:s], n.args[s + 1], n.args[s]], [])  # fmt: skip
            for i, kind in enumerate(PARAMETERS.get(op, ())):
                yield from _parameter(op, i, kind, scope, left)
        case ast.BinOp(_, op, _):
            for other in (
                (ast.BitAnd, ast.BitOr, ast.Sub) if not isinstance(op, ast.Add) else (ast.Sub,)
            ):
                if not isinstance(op, other):
                    yield "other set operation", lambda n, o=other: ast.BinOp(n.left, o(), n.right)
            yield "left half only", lambda n: n.left
            yield "right half only", lambda n: n.right
            if isinstance(op, ast.Sub):
                yield "difference reversed", lambda n: ast.BinOp(n.right, n.op, n.left)
        case ast.Name(id):
            for kind in ("operand", "set", "axis", "size"):
                if id in scope[kind]:
                    for other in sorted(scope[kind] - {id}):
                        yield f"{id} becomes {other}", lambda n, o=other: ast.Name(o)
        case ast.Constant(int() | float() as value):
            for other in (value + 1, value - 1, value * 2 + 3):
                yield f"{value} becomes {other}", lambda n, o=other: ast.Constant(o)


def _parameter(op, i, kind, scope, left):
    def put(n, new, i=i):
        return ast.Call(n.func, [*n.args[:i], new(n.args[i]), *n.args[i + 1 :]], [])

    if kind == "set" and not left:
        yield f"{op} over nothing", lambda n: put(n, lambda a: ast.Name("NONE"))
        for name in sorted(scope["operand"])[:3]:
            yield f"{op} not over {name}", lambda n, o=name: put(
                n, lambda a: ast.BinOp(a, ast.Sub(), ast.Name(o)))  # fmt: skip
            yield f"{op} over {name} only", lambda n, o=name: put(
                n, lambda a: ast.BinOp(a, ast.BitAnd(), ast.Name(o)))  # fmt: skip
    if kind == "size" and not left:
        for by in (1, -1):
            yield f"{op} off by {by}", lambda n, by=by: put(
                n, lambda a: ast.BinOp(a, ast.Add(), ast.Constant(by)))  # fmt: skip


def _put(tree, target, new):
    class Swap(ast.NodeTransformer):
        def visit(self, node):
            return new if node is target else self.generic_visit(node)

    return ast.fix_missing_locations(Swap().visit(tree))
