"""The fenced blocks of a Markdown document, and how to run them.

`python` blocks of a document run in order in one namespace; a `text` block right after one is
what it must print.  In `console` blocks a line ``$ command`` is run, and the lines below it, if
any, are what it must print.  ``...`` stands for anything.  A comment just above a block exempts
it and says why: ``<!-- not run: it sets up the project -->``.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"(?P<exempt><!-- not run: .+? -->\n+)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block: what it is written in, its text and the line of its first line."""

    kind: str
    text: str
    line: int
    follows: bool  # nothing but blank lines between it and the block before


def documents() -> list[Path]:
    """Every document of the tree that a reader would open."""
    folders = (ROOT / name for name in ("docs", "validation", "bench", "examples"))
    return [*sorted(ROOT.glob("*.md")), *(p for f in folders for p in sorted(f.rglob("*.md")))]


def blocks(path: Path) -> list[Block]:
    """The blocks of a document that are meant to be run or compared."""
    text = path.read_text(encoding="utf-8")
    found, end = [], 0
    for match in FENCE.finditer(text):
        follows = not text[end : match.start()].strip() and not match["exempt"]
        end = match.end()
        line = text.count("\n", 0, match.start("text")) + 1
        if not match["exempt"]:
            found.append(Block(match["kind"], match["text"], line, follows))
    return found


def run_python(path: Path) -> None:
    """Run the `python` blocks of a document in order and compare what they print."""
    # Workers of a test run inherit the width of a terminal from readline; documents assume ours.
    os.environ.pop("COLUMNS", None)
    module = ModuleType("document")  # registered, so that dataclasses find their module
    sys.modules[module.__name__] = module
    printed = ""
    for block in blocks(path):
        where = f"{path.name}:{block.line}"
        if block.kind == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(path), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, module.__dict__)
            printed = out.getvalue()
        elif block.kind == "text" and block.follows:
            compare(block.text, printed, where)


def commands(path: Path) -> Iterator[tuple[str, str, str]]:
    """(where, command, expected output) of the `console` blocks of a document."""
    for block in blocks(path):
        if block.kind == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, expected = part.partition("\n")
                yield f"{path.name}:{block.line}", command, expected


def run_command(command: str, expected: str, where: str, cwd: Path) -> None:
    """Run one command line as a reader would, with the environment's programs on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "COLUMNS": "100"}
    done = subprocess.run(
        command, shell=True, cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{where}: $ {command}\n{done.stdout}{done.stderr}"
    if expected.strip():
        compare(expected, done.stdout, where)


def compare(expected: str, printed: str, where: str) -> None:
    """The two texts agree, ``...`` standing for anything and white space for white space."""
    same = doctest.OutputChecker().check_output(expected, printed, FLAGS)
    assert same, f"{where}: expected\n{expected}\nprinted\n{printed}"
