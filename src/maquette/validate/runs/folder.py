"""Every run of a folder, by whatever tool, with what sidecars and options say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from maquette.catalogue.loader import read_toml, structure
from maquette.errors import Fault, InputError
from maquette.validate.rows import Skipped
from maquette.validate.runs import aiperf, guidellm, inference_perf, table, vllm
from maquette.validate.runs.keys import Keys
from maquette.validate.runs.types import Run, Said

SIDECAR = "deployment.toml"
# Files that tools write beside their results: (pattern of the name, what they are).
BESIDE = (
    (r".*prometheus_metrics\.json|server_metrics.*", "metrics of the server"),
    (r".*per_request.*\.json|.*session.*\.json", "single requests"),
    (r"(.*_)?(inputs|outputs)\.json|profile_export(_raw)?\.json", "single requests"),
    (r".*timeslices.*", "slices of a run"),
    (r"profile_export.*_(aggregate|collated)\.json|phase_manifest\.json", "several runs at once"),
    (r".*\.pytorch\.json", "a copy of a result"),
    (r"profile_export.*\.csv", "a copy of a result"),
)
TOOLS = (vllm, inference_perf, aiperf)


@dataclass(frozen=True, eq=False)
class Found:
    """The runs of a folder and the files that were not read."""

    folder: str
    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...]


def read(folder: str | Path, said: Said = Said()) -> Found:  # noqa: B008 - frozen
    """The runs of a folder and of the folders in it; `said` goes before sidecars.

    Raises:
        InputError: files that cannot be read or understood, all faults at once; or no run.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(Fault(str(root), "is not a folder", "a folder of results"))
    faults: list[Fault] = []
    skipped: list[Skipped] = []
    runs: list[Run] = []
    sidecars = _sidecars(root, faults)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = str(path.relative_to(root))
        why = _beside(path)
        if why is not None:
            skipped += [Skipped(name, why)] * (path.name != SIDECAR)
            continue
        own = _said(path, root, sidecars, said)
        read = (
            table.read(path, name, faults) if ".csv" in path.suffixes else _json(path, name, faults)
        )
        runs += [replace(r, said=_agreed(r, own, faults)) for r in read]
    if not runs and not faults:
        expected = "results of vLLM bench serve, AIPerf, GuideLLM or inference-perf, or a CSV"
        faults.append(Fault(str(root), "holds no run", expected))
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return Found(str(root), tuple(runs), tuple(skipped))


def _beside(path: Path) -> str | None:
    """Why a file is not read; None where it is."""
    if path.suffix == ".json" or ".csv" in path.suffixes:
        stages = path.with_name("stage_0_lifecycle_metrics.json")
        if path.name == "summary_lifecycle_metrics.json" and any(
            path.parent.glob(stages.name.replace("0", "*"))
        ):
            return "all stages at once"
        if ".csv" in path.suffixes and path.with_name(path.name.split(".")[0] + ".json").exists():
            return "a copy of a result"
        return next((what for pattern, what in BESIDE if re.fullmatch(pattern, path.name)), None)
    return "neither JSON nor CSV"


def _sidecars(root: Path, faults: list[Fault]) -> dict[Path, Said]:
    found = {}
    for path in sorted(root.rglob(SIDECAR)):
        try:
            name = str(path.relative_to(root))
            found[path.parent] = _placed(structure(Said, read_toml(path), name), path.parent)
        except InputError as error:
            faults += error.faults
    return found


def _placed(said: Said, beside: Path) -> Said:
    """With paths that begin with ``./`` or ``../`` taken from where the sidecar is."""

    def placed(path: str | None) -> str | None:
        return str(beside / path) if path and path.startswith(("./", "../")) else path

    return replace(said, model=placed(said.model), on=placed(said.on))


def _said(path: Path, root: Path, sidecars: dict[Path, Said], said: Said) -> Said:
    """Options, then the sidecar beside the file, then those of folders above."""
    for place in (p for p in path.parents if p == root or root in p.parents):
        said = _filled(said, sidecars.get(place, Said()))
    return said


def _filled(first: Said, then: Said) -> Said:
    given = {f.name: getattr(first, f.name) for f in fields(Said)}
    return replace(then, **{k: v for k, v in given.items() if v is not None})


def _agreed(run: Run, own: Said, faults: list[Fault]) -> Said:
    """What the file says, then what is said of it; both may not differ but in the model's name."""
    for f in fields(Said):
        mine, theirs = getattr(run.said, f.name), getattr(own, f.name)
        if f.name != "model" and None not in (mine, theirs) and mine != theirs:
            what = f"is {mine!r} in the file and {theirs!r} beside it"
            faults.append(Fault(f"{run.name}: {f.name}", what, "one of them"))
    return _filled(replace(run.said, model=None), replace(own, model=own.model or run.said.model))


def _json(path: Path, name: str, faults: list[Fault]) -> Iterator[Run]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        documents = list(_documents(text))
    except (OSError, UnicodeDecodeError) as error:
        faults.append(Fault(name, f"cannot be read: {error}"))
        return
    except json.JSONDecodeError as error:
        faults.append(Fault(name, f"is not JSON: {error.msg} in line {error.lineno}"))
        return
    for i, data in enumerate(documents):
        part = name if len(documents) == 1 else f"{name} [{i}]"
        keys = Keys(data, part, faults) if isinstance(data, dict) else None
        tool = next((t for t in TOOLS if t.recognised(data)), None)
        if keys is not None and tool is not None:
            found: list[Run | None] = [tool.read(keys)]
        elif keys is not None and guidellm.recognised(data):
            found = list(guidellm.read(keys))
        else:
            expected = "a result of vLLM bench serve, AIPerf, GenAI-Perf, GuideLLM, inference-perf"
            faults.append(Fault(part, "is of no known tool", expected))
            continue
        yield from (run for run in found if run is not None)


def _documents(text: str) -> Iterator[Any]:
    """Objects one after another, as ``--append-result`` leaves them."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        data, at = decoder.raw_decode(text, at)
        yield data
