"""Which compiler this is: the digest of the source of the package, as this process loaded it."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as released
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_NEEDED = ("numpy", "scipy")  # what passes compute with


def _written() -> tuple[tuple[str, int, int], ...]:
    """Every module of the package: when it was written, and how large it is."""
    try:
        return tuple(
            (str(path), seen.st_mtime_ns, seen.st_size)
            for path in sorted(_PACKAGE.rglob("*.py"))
            for seen in (path.stat(),)
        )
    except OSError:  # packed, or being replaced
        return ()


_LOADED = _written()  # when this process began with the package


def version() -> str:
    """The digest of the package's source; empty where it has changed since it was loaded.

    What is kept under a version was made by just this source, Python and numerical libraries.

    >>> version() == version()
    True
    """
    return _digest() if _LOADED and _written() == _LOADED else ""


@cache
def _digest() -> str:
    found = hashlib.sha256(f"{sys.version}\0{[_release(n) for n in _NEEDED]}".encode())
    try:
        for path, *_ in _LOADED:
            content = Path(path).read_bytes()
            found.update(f"\0{Path(path).relative_to(_PACKAGE)}\0{len(content)}\0".encode())
            found.update(content)
    except OSError:
        return ""
    return found.hexdigest() if _written() == _LOADED else ""


def _release(package: str) -> str:
    try:
        return released(package)
    except PackageNotFoundError:
        return ""
