"""Measured kernels that the package ``aiconfigurator-core`` ships, as tables of rows.

It is an extra, ``pip install maquette[measured]``: its tables stay in that package, under its own
licence, and are read where it is installed.  They lie in ``systems/data/SYSTEM/KIND/FRAMEWORK/
VERSION/*_perf.parquet``, with durations in milliseconds.

A fit may follow them (`tables`), and a step may take the time of a kernel from them where one of
its shape was measured (`exact`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maquette.catalogue.calibrations import family
from maquette.catalogue.engines import core
from maquette.errors import Fault, InputError
from maquette.machines.types import Machine
from maquette.plans.engine import Engine
from maquette.price.calibration import Calibration
from maquette.price.tables import Curve, Tables, curves
from maquette.validate import schema
from maquette.validate.files import content
from maquette.validate.link_kernels import bytes_of, kinds_of
from maquette.validate.rows import Floats, Table, tabled
from maquette.validate.shelf import Shelf
from maquette.validate.shelf import shelf as stocked
from maquette.validate.sort import formats

PACKAGE = "aiconfigurator_core"


class Source(NamedTuple):
    """What kind of rows a file holds, and what its rows leave unsaid."""

    kind: str
    said: Mapping[str, str] = {}


DEEPSEEK = {"latent": "512", "rope_dim": "64"}
OTHERWISE = {"latency": "latency_ms", "device": "card", "seq_len": "input_tokens"}
FILES: Mapping[str, Source] = {
    "gemm_perf": Source("gemm"),
    "context_attention_perf": Source("attention", {"phase": "context"}),
    "generation_attention_perf": Source("attention", {"phase": "generation"}),
    "context_mla_perf": Source("latent", {"phase": "context", **DEEPSEEK}),
    "generation_mla_perf": Source("latent", {"phase": "generation", **DEEPSEEK}),
    "gdn_perf": Source("scan", {"rule": "gated delta", "chunk": "64"}),
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


def exact(root: Path, shelf: Shelf, machine: Machine, engine: str, version: str = "") -> Tables:
    """Products and collectives of a machine, by shape.

    Raises:
        InputError: the package has none of them for this machine.
    """
    found = tables(root, shelf, machine.name, engine, version)
    products, links = [], []
    for table in found:
        if table.kind.name == "gemm":
            held = formats(table, machine)
            keys = [held.weight, held.peak, *(table.values(c) for c in "nk")]
            products.append(_rows(table, keys, table.values("m")))
        elif table.kind.name == "collective":
            inside = table.values("devices") <= machine.node
            for kind, here in kinds_of(table):
                took = _rows(table, [table.values("devices")], bytes_of(table), here & inside)
                links.append((kind, took))
    if not products and not links:
        where = f"{machine.name} has no products or collectives in {release()}"
        raise InputError(Fault("--measured", where, hint="a machine it has"))
    joined = [np.concatenate(column) for column in zip(*products, strict=True)]
    by_link: dict[tuple[str, float], Curve] = {
        (kind, key[0]): curve for kind, rows in links for key, curve in curves(*rows).items()
    }
    return Tables(release(), curves(*joined) if joined else {}, by_link)


def before(cal: Calibration, machine: Machine, engine: Engine) -> Calibration:
    """A calibration that kernels of the installed package go before."""
    held = exact(folder(), stocked(), machine, core(engine.name), engine.version)
    source = f"{cal.source}; kernels of {held.source} where one has the shape"
    return replace(cal, tables=held, source=source)


def _rows(
    table: Table, keys: list[Floats], sizes: Floats, here: Any = True
) -> tuple[Floats, Floats, Floats]:
    """Keys, sizes and seconds of the rows that say all three and that no flag takes out."""
    took = table.seconds("e2e")
    columns = np.stack([*keys, sizes, took], axis=1)
    good = np.all(np.isfinite(columns), axis=1) & (table.flags == "") & here
    return columns[good][:, :-2], sizes[good], took[good]


def _newest(system: Path, shelf: Shelf, engine: str, version: str) -> Iterator[Path]:
    """Files of one version of each framework that is the engine or no engine at all."""
    for frameworks in sorted(p for p in system.iterdir() if p.is_dir()):
        for framework in sorted(p for p in frameworks.iterdir() if p.is_dir()):
            if shelf.engine_names(framework.name) not in (family(engine), None):
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
    named = [OTHERWISE.get(h, h) for h in headings]
    window = headings.index("window_size") if "window_size" in headings else None
    # A layer's convolution is a kernel beside its scan.
    beside = headings.index("kernel_source") if source.kind == "scan" else None
    rows = [
        (
            *row,
            *said.values(),
            window is not None and float(row[window] or 0) > 0,
            beside is not None and "conv" in str(row[beside]),
        )
        for row in body
    ]
    columns = [*named, *said, "flag_window", "flag_convolution"]
    kind = next(k for k in schema.KINDS if k.name == source.kind)
    have = schema.columns(columns)
    lacking = schema.missing(kind, have)
    if lacking:
        raise InputError(Fault(name, f"lacks {', '.join(lacking)}", f"rows of {kind.title}"))
    return tabled(kind, name, have, columns, rows)
