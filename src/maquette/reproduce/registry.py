"""All claims by name.  A module of `claims` holds a tuple `CLAIMS` of those of one subject."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from maquette.errors import UnknownName
from maquette.reproduce import claims as folder
from maquette.reproduce.types import Claim


@cache
def claims() -> dict[str, Claim]:
    """Every claim, in the order of the modules that hold them and of their tuples.

    >>> "decode-roofline" in claims()
    True
    """
    found: dict[str, Claim] = {}
    for module in sorted(m.name for m in iter_modules(folder.__path__)):
        for each in import_module(f"{folder.__name__}.{module}").CLAIMS:
            assert each.name not in found, f"two claims are called {each.name}"
            found[each.name] = each
    return found


def claim(name: str) -> Claim:
    """The claim of that name; UnknownName names the nearest.

    >>> claim("decode-roofline").subject
    'machines'
    """
    if name not in claims():
        raise UnknownName("claim", name, claims())
    return claims()[name]
