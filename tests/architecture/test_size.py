"""Small files, short functions, a sentence for whatever is public."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from architecture.source import ROOT, Module

FILE_LINES = 400
FUNCTION_LINES = 60  # the target is 40
FOLDERS = ("src", "tests", "examples", "bench", "validation")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, the docstring left out: examples are not length."""
    first = node.body[0]
    documented = ast.get_docstring(node, clean=False) is not None
    doc = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (node.end_lineno or 0) - node.lineno + 1 - doc


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_are_small(folder):
    long = {
        str(p.relative_to(ROOT)): n
        for p in sorted((ROOT / folder).rglob("*.py"))
        if (n := p.read_text(encoding="utf-8").count("\n")) > FILE_LINES
    }
    assert not long, f"files over {FILE_LINES} lines: {long}"


def test_functions_are_short(modules: list[Module]):
    long = [
        f"{m.where}:{f.lineno} {f.name} has {n} lines"
        for m in modules
        for f in functions(m.tree)
        if (n := code_lines(f)) > FUNCTION_LINES
    ]
    assert not long, f"functions over {FUNCTION_LINES} lines:\n" + "\n".join(long)


def test_modules_say_what_they_are(modules: list[Module]):
    silent = [m.where for m in modules if m.text.strip() and not ast.get_docstring(m.tree)]
    assert not silent, f"modules without a docstring: {silent}"


def test_public_names_are_documented(modules: list[Module]):
    """Every public class, and every public function that is more than one expression."""
    silent = [
        f"{m.where}:{node.lineno} {node.name}"
        for m in modules
        if not any(part.startswith("_") for part in m.name.split("."))
        for node in m.tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not plain(node)
    ]
    assert not silent, "public and undocumented:\n" + "\n".join(silent)


def plain(node: ast.ClassDef | ast.FunctionDef) -> bool:
    """A function that is one expression says itself what it does."""
    return isinstance(node, ast.FunctionDef) and len(node.body) == 1
