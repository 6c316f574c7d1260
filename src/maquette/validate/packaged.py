"""Measured kernels that the package ``aiconfigurator-core`` ships, as tables of rows.

It is an extra, ``pip install maquette[measured]``: its tables stay in that package, under its own
licence, and are read where it is installed.  They lie in ``systems/data/SYSTEM/KIND/FRAMEWORK/
VERSION/*_perf.parquet``, with durations in milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from maquette.errors import Fault, InputError
from maquette.validate import schema
from maquette.validate.files import content
from maquette.validate.rows import Table, tabled
from maquette.validate.shelf import Shelf

PACKAGE = "aiconfigurator_core"


class Source(NamedTuple):
    """What kind of rows a file holds, and what its rows leave unsaid."""

    kind: str
    said: Mapping[str, str] = {}


FILES: Mapping[str, Source] = {
    "gemm_perf": Source("gemm"),
    "context_attention_perf": Source("attention", {"phase": "context"}),
    "generation_attention_perf": Source("attention", {"phase": "generation"}),
    "moe_perf": Source("experts"),
    "nccl_perf": Source("collective"),
    "custom_allreduce_perf": Source("collective", {"collective": "all_reduce"}),
}


def folder() -> Path:
    """Where the installed package keeps its tables.

    Raises:
        InputError: it is not installed, or keeps none where they are known to be.
    """
    spec = find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        what = "aiconfigurator-core is not installed, whose kernel tables it reads"
        raise InputError(Fault("--measured", what, hint="pip install 'maquette[measured]'"))
    found = Path(places[0]) / "systems" / "data"
    if not found.is_dir():
        raise InputError(Fault(str(found), "is not there", "a version that ships systems/data"))
    return found


def release() -> str:
    """Name and version of what was read, for the source of a calibration."""
    try:
        return f"aiconfigurator-core {metadata.version('aiconfigurator-core')}"
    except metadata.PackageNotFoundError:
        return "aiconfigurator-core"


def tables(root: Path, shelf: Shelf, machine: str, engine: str, version: str = "") -> list[Table]:
    """The kernels of a machine, of the version of an engine and of libraries it shares.

    Of each framework and kind the tables of that version, or of its newest.
    """
    found = []
    for system in sorted(p for p in root.iterdir() if p.is_dir()):
        if shelf.machine_names(system.name) == machine:
            for path in _newest(system, shelf, engine, version):
                found.append(_table(path, path.relative_to(root).as_posix(), machine))
    return found


def _newest(system: Path, shelf: Shelf, engine: str, version: str) -> Iterator[Path]:
    """Files of one version of each framework that is the engine or no engine at all."""
    for frameworks in sorted(p for p in system.iterdir() if p.is_dir()):
        for framework in sorted(p for p in frameworks.iterdir() if p.is_dir()):
            if shelf.engine_names(framework.name) not in (engine, None):
                continue
            newest: dict[str, Path] = {}
            versions = (p for p in framework.iterdir() if p.is_dir())
            for held in sorted(versions, key=lambda p: (p.name == version, *_parts(p.name))):
                for path in sorted(held.glob("*.parquet")):
                    if path.stem in FILES:
                        newest[path.stem] = path  # the last one stands
            yield from newest.values()


def _parts(version: str) -> tuple[tuple[int, ...], bool, str]:
    """A version as it is ordered: by its numbers, a release candidate before what it becomes."""
    plain = re.match(r"[\d.]*\d", version)
    numbers = tuple(int(n) for n in plain.group().split(".")) if plain else ()
    rest = version[len(plain.group()) :] if plain else version
    return numbers, not rest, rest


def _table(path: Path, name: str, machine: str) -> Table:
    source = FILES[path.stem]
    try:
        headings, body = content(path)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(Fault(name, f"cannot be read: {error}")) from None
    said = {"hardware": machine, **source.said}
    # The device is spelled out in each row; the folder says it once.
    named = ["latency_ms" if h == "latency" else "card" if h == "device" else h for h in headings]
    window = headings.index("window_size") if "window_size" in headings else None
    rows = [
        (*row, *said.values(), window is not None and float(row[window] or 0) > 0) for row in body
    ]
    columns = [*named, *said, "flag_window"]
    kind = next(k for k in schema.KINDS if k.name == source.kind)
    have = schema.columns(columns)
    lacking = schema.missing(kind, have)
    if lacking:
        raise InputError(Fault(name, f"lacks {', '.join(lacking)}", f"rows of {kind.title}"))
    return tabled(kind, name, have, columns, rows)
