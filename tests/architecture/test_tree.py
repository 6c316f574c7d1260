"""What must not be in the tree: paths of somebody's machine, addresses of package indexes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from architecture.source import ROOT

SKIPPED = {".git", ".venv", ".venv-engine", "__pycache__", "dist", "report", "measured"}
TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".cfg", ".json", ".csv", ".html", ".sh", ""}

# Spelled in pieces so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:wor" r"k|hom" r"e|roo" r"t|User" r"s)/\w|C:\\+User" r"s")
INDEX = re.compile(r"index-u" r"rl|find-l" r"inks|pypi\.or" r"g|pythonhoste" r"d|trusted-h" r"ost")


def texts() -> Iterator[tuple[Path, str]]:
    for path in sorted(ROOT.rglob("*")):
        inside = path.relative_to(ROOT).parts
        hidden = any(p in SKIPPED or p.endswith(("_cache", ".egg-info")) for p in inside)
        if hidden or not path.is_file() or path.suffix not in TEXT or ".hypothesis" in inside:
            continue
        yield path.relative_to(ROOT), path.read_text(encoding="utf-8", errors="replace")


def offenders(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number} {line.strip()[:80]}"
        for path, text in texts()
        if pattern.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_paths_of_one_machine():
    assert not (found := offenders(MACHINE_PATH)), "\n".join(found)


def test_no_package_index_addresses():
    assert not (found := offenders(INDEX)), "\n".join(found)


def test_constraints_cover_the_direct_dependencies():
    """Every direct dependency has a lower and an upper bound, and nothing else is pinned."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    direct = {
        re.split(r"[<>=!~\[; ]", line)[0]
        for line in [*project["dependencies"], *(d for extra in extras for d in extra)]
    }
    lines = [
        line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()
    ]
    bounds = {re.split(r"[<>=!~]", line)[0]: line for line in lines if line}
    assert bounds.keys() == direct
    unbounded = [b for b in bounds.values() if ">=" not in b or ",<" not in b]
    assert not unbounded, unbounded
