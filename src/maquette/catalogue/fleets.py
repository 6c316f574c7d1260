"""Fleets of experts by name or path: models behind a router, where they run, and their requests.

A file has the fields of `FleetFile`; ``samba-coe`` is an example.  Names in it are those of the
catalogue; all faults are reported at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from maquette.catalogue import engines, machines, models
from maquette.catalogue.fleet_file import FleetFile, Site
from maquette.catalogue.loader import read_toml, structure
from maquette.errors import Fault, InputError, MaquetteError, UnknownName, nearest, together
from maquette.plans.legality import PRECISIONS
from maquette.serve.composition.popularity import shares

FOLDER = Path(__file__).with_name("fleets")


def names() -> tuple[str, ...]:
    """The names of the fleets of the catalogue."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def fleet(name_or_path: str, overrides: Sequence[str] = ()) -> FleetFile:
    """The fleet of that name, or in the file at that path (a slash or ``.toml``), checked.

    `overrides` are what-ifs of the file, ``fleet.PATH=VALUE`` with a number in the path for an
    element of an array.  Raises UnknownName with the nearest names, or InputError with every
    fault of the file and of the overrides.

    >>> fleet("samba-coe", ["fleet.experts.0.count=300"]).experts[0].count
    300
    """
    is_path = "/" in name_or_path or name_or_path.endswith(".toml")
    if not is_path and name_or_path not in names():
        raise UnknownName("fleet", name_or_path, names())
    path = Path(name_or_path) if is_path else FOLDER / f"{name_or_path}.toml"
    data = read_toml(path)
    together(*(partial(_override, data, text) for text in overrides))
    return checked(_beside(structure(FleetFile, data, path.name), path), path.name)


def _override(data: Any, text: str) -> None:
    """Change one value of a file's tables."""
    path, equals, value = text.partition("=")
    where, keys = f"--set {path.strip()}", path.strip().split(".")
    if not equals or len(keys) < 2 or keys[0] != "fleet" or not all(keys):
        example = "such as fleet.experts.0.count=300"
        raise InputError(Fault(f"--set {text}", "is no path into a fleet and a value", example))
    for key in keys[1:-1]:
        data = _inside(data, key, where)
    last = keys[-1]
    if isinstance(data, list):
        _inside(data, last, where)
        data[int(last)] = plain(value.strip())
    elif isinstance(data, dict):
        data[last] = plain(value.strip())
    else:
        raise InputError(Fault(where, f"{last!r} goes past a value"))


def _inside(data: Any, key: str, where: str) -> Any:
    """What `key` leads to in a table or an array; a table that is not there yet is empty."""
    if isinstance(data, dict):
        return data.setdefault(key, {})
    if isinstance(data, list) and key.isdigit() and int(key) < len(data):
        return data[int(key)]
    known = f"0 to {len(data) - 1}" if isinstance(data, list) else "the path up to it"
    raise InputError(Fault(where, f"{key!r} leads nowhere", known))


def plain(text: str) -> Any:
    """The text of an option as TOML would hold it; quotes, which shells eat, are optional.

    >>> plain("3"), plain("zipf"), plain("'zipf'")
    (3, 'zipf', 'zipf')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _beside(found: FleetFile, path: Path) -> FleetFile:
    """Traces with relative paths lie beside the file that names them."""
    traffic, popularity = found.traffic, found.popularity
    if traffic.trace is not None:
        traffic = replace(traffic, trace=str(path.parent / traffic.trace))
    if popularity.file is not None:
        popularity = replace(popularity, file=str(path.parent / popularity.file))
    return replace(found, traffic=traffic, popularity=popularity)


def checked(found: FleetFile, where: str = "") -> FleetFile:
    """The same fleet, once everything in it is known to exist; InputError with all faults."""
    faults = [replace(f, where=f"{where}: {f.where}".strip(": ")) for f in _faults(found)]
    if faults:
        raise InputError(*faults)
    return found


def _faults(found: FleetFile) -> Iterator[Fault]:
    if found.engine is not None:
        yield from _asked("engine", partial(engines.engine, found.engine))
    if found.precision not in PRECISIONS:
        hint = nearest(found.precision, PRECISIONS)
        yield Fault("precision", f"unknown precision {found.precision!r}", hint=hint)
    yield from _asked("router.model", lambda: models.model(found.router.model))
    for i, experts in enumerate(found.experts):
        yield from _asked(f"experts[{i}].model", partial(models.model, experts.model))
    yield from _asked("", lambda: shares(found.popularity, found.weights))
    for i, site in enumerate(found.deployments):
        yield from _site_faults(found, site, f"deployments[{i}]")
    titles = [site.name for site in found.deployments]
    for name in sorted({t for t in titles if titles.count(t) > 1}):
        yield Fault("deployments", f"two are called {name!r}")


def _site_faults(found: FleetFile, site: Site, where: str) -> Iterator[Fault]:
    groups = {e.group for e in found.experts}
    known = [*groups, *found.names]
    used = {found.router.model, *(e.model for e in found.experts)}
    hosted: set[str] = set()
    for i, each in enumerate(site.systems):
        at = f"{where}.systems[{i}]"
        yield from _asked(f"{at}.on", partial(machines.system, each.on, each.set))
        if each.engine is not None:
            yield from _asked(f"{at}.engine", partial(engines.engine, each.engine))
        for name in each.experts:
            if name not in known:
                yield Fault(
                    f"{at}.experts", f"no expert is called {name!r}", hint=nearest(name, known)
                )
        for model in each.times:
            if model not in used:
                yield Fault(
                    f"{at}.times.{model}", "is no model of this fleet", hint=nearest(model, used)
                )
        hosted |= set(found.members(each.experts))
    missing = [n for n in found.names if n not in hosted]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield Fault(where, f"hosts no {missing[0]!r}{more}", "every expert on some system")


def _asked(where: str, ask: Callable[[], Any]) -> Iterator[Fault]:
    """The faults of a look-up, at its place in the file."""
    try:
        ask()
    except MaquetteError as error:
        for fault in error.faults:
            yield replace(fault, where=".".join(filter(None, (where, fault.where))))
