"""The source as the architecture tests see it: modules, what they import, what they define."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"


def layer(module: str) -> str:
    """The subpackage or top module a name belongs to; "" for the package itself."""
    return [*module.split("."), ""][1]


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str  # "maquette.ir.sizes"; a package's __init__ is the package
    path: Path

    @property
    def where(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def package(self) -> str:
        """The layer it belongs to: a subpackage, or a module at the top; "" for the front."""
        return layer(self.name)

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.where)

    def imports(self, known: set[str]) -> Iterator[tuple[int, str]]:
        """(line, module) for every import of the package's own modules, wherever it stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, a.name) for a in node.names if _own(a.name))
            elif isinstance(node, ast.ImportFrom):
                source = self._absolute(node)
                if _own(source):
                    for a in node.names:
                        inner = f"{source}.{a.name}"
                        yield node.lineno, inner if inner in known else source

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        up = node.level - (self.path.name == "__init__.py")
        return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def _own(name: str) -> bool:
    return name == "maquette" or name.startswith("maquette.")


def every_module() -> list[Module]:
    """Every module of the package, by path."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path))
    return found
