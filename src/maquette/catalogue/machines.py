"""Machines and systems by name, alias or path, with what-if overrides.

h100-sxm, h100         one device, by name or alias
h100x8, cs-3x4         so many of them
gb200-nvl72, sn40l-rackx2   a named assembly, so many of those
./mine.toml, mine.tomlx8    your own file, in the format of the catalogue's
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from maquette.catalogue.loader import read_toml, structure
from maquette.catalogue.overrides import override
from maquette.errors import Fault, InputError, UnknownName
from maquette.machines.checks import check
from maquette.machines.types import Machine, System

FOLDER = Path(__file__).with_name("machines")
_TIMES = re.compile(r"(.+?)x(\d+)")


MOST = 16_384  # devices of a system: beyond what is built, plans would be counted for ever


def names() -> tuple[str, ...]:
    """The names of all machines of the catalogue."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def machine(name_or_path: str, overrides: Sequence[str] = ()) -> Machine:
    """The machine of that name or alias, or in the file at that path (a slash or ``.toml``).

    `overrides` are what-ifs, ``machine.hbm.bandwidth=4 TB/s``; see `catalogue.overrides`.
    UnknownName names the nearest machines; InputError lists every fault of a file or override.

    >>> machine("h100", ["machine.hbm.bandwidth=4 TB/s"]).tiers["hbm"].bandwidth.kind
    'what-if'
    """
    is_path = _is_path(name_or_path)
    found = _from_file(name_or_path) if is_path else _from_catalogue(name_or_path.lower())
    if not overrides:
        return found
    changed = override(found, overrides)
    _refuse(check(changed), "--set")
    return changed


def system(text: str, overrides: Sequence[str] = ()) -> System:
    """So many devices of a machine, from ``NAME``, ``NAMExN`` or the name of an assembly.

    >>> system("mi300x8").name, system("mi300x").devices, system("gb200-nvl72").devices
    ('mi300xx8', 1, 72)
    """
    text = text.strip()
    if _is_path(text):
        # The path itself may well contain an x and digits: only a count after .toml is one.
        count = re.fullmatch(r"(.+\.toml)x(\d+)", text)
        path, n = (count[1], int(count[2])) if count else (text, 1)
        return _counted(machine(path, overrides), n, text)
    text = text.lower()
    if (one := _devices(text)) is not None:
        return System(machine(text, overrides), one)
    if (count := _TIMES.fullmatch(text)) and (per := _devices(count[1])) is not None:
        return _counted(machine(count[1], overrides), per * int(count[2]), text)
    name = count[1] if count else text
    raise UnknownName("machine", name, {*names(), *_index()})


def systems(text: str, overrides: Sequence[str] = ()) -> tuple[System, ...]:
    """Several systems, separated by commas: ``h200x8,mi300x8``.  All faults at once."""
    found, faults = [], []
    for part in filter(None, (p.strip() for p in text.split(","))):
        try:
            found.append(system(part, overrides))
        except (InputError, UnknownName) as error:
            faults += [f for f in error.faults if f not in faults]
    if not found and not faults:
        faults.append(Fault("", "no machine is named", "such as h100x8 or h200x8,mi300x8"))
    if faults:
        raise InputError(*faults)
    return tuple(found)


def _counted(found: Machine, n: int, text: str) -> System:
    if n < 1:
        raise InputError(Fault(text, f"has {n} devices", "at least 1"))
    if n > MOST:
        raise InputError(Fault(text, f"has {n:,} devices", f"at most {MOST:,}"))
    return System(found, n)


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or bool(re.search(r"\.toml(x\d+)?$", text))


def _devices(name: str) -> int | None:
    """How many devices a name of the catalogue stands for; None when nothing has that name."""
    if (FOLDER / f"{name}.toml").is_file():
        return 1
    return _index().get(name, (None, None))[1]


def _from_catalogue(name: str) -> Machine:
    if not (FOLDER / f"{name}.toml").is_file():
        if name not in _index():
            raise UnknownName("machine", name, {*names(), *_index()})
        name = _index()[name][0]
    return _load(FOLDER / f"{name}.toml")


@cache
def _load(path: Path) -> Machine:
    return structure(Machine, read_toml(path), path.name)


@cache
def _index() -> Mapping[str, tuple[str, int]]:
    """Every alias and assembly of the catalogue: its machine and number of devices.

    Only the head of each file is parsed, what precedes its first table, so that finding one
    machine does not cost reading all of them.
    """
    index: dict[str, tuple[str, int]] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        head: dict[str, Any] = tomllib.loads(path.read_text("utf-8").partition("\n[")[0])
        index |= dict.fromkeys(head.get("aliases", ()), (path.stem, 1))
        index |= {n: (path.stem, a["devices"]) for n, a in head.get("systems", {}).items()}
    return index


def _from_file(text: str) -> Machine:
    """A user's file.  ``like = "h100-sxm"`` at its top starts from that machine's file."""
    path = Path(text)
    data = read_toml(path)
    if (base := data.pop("like", None)) is not None:
        data = _like(base, data, path)
    found = structure(Machine, data, path.name)
    _refuse(check(found), path.name)
    return found


def _like(base: object, data: dict[str, Any], path: Path) -> dict[str, Any]:
    """`data` laid over the file of the machine `base`, without the names that are its own."""
    if not isinstance(base, str):
        raise InputError(Fault(f"{path.name}: like", f"{base!r} is not a string", "a machine"))
    try:
        name = _from_catalogue(base).name
    except UnknownName as error:
        raise InputError(*(replace(f, where=f"{path.name}: like") for f in error.faults)) from None
    under = read_toml(FOLDER / f"{name}.toml") | {"name": path.stem, "transfer_from": name}
    under.pop("aliases", None)
    under.pop("systems", None)
    return _over(under, data)


def _over(under: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """`top` laid over `under`, table by table; a fact is replaced whole."""
    out = dict(under)
    for key, value in top.items():
        below = out.get(key)
        merge = isinstance(value, dict) and isinstance(below, dict) and "value" not in value
        out[key] = _over(below, value) if merge else value  # type: ignore[arg-type]
    return out


def _refuse(faults: Sequence[Fault], where: str) -> None:
    if faults:
        raise InputError(*(replace(f, where=f"{where}: {f.where}") for f in faults))
