"""From rows to cases: which machine, engine, model, precision and mesh each row is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maquette.catalogue.engines import engine_at
from maquette.compiler.lower import lower
from maquette.plans.types import Precision
from maquette.validate import schema
from maquette.validate.names import counted, precision, squeeze
from maquette.validate.rows import NO, Floats, Table, Texts, is_calibration
from maquette.validate.shelf import Shelf
from maquette.validate.static import AXES, Batches

SPELLED = (
    "hardware", "engine", "version", "model", "precision", "moe_precision", "kv_precision",
)  # fmt: skip
LENGTHS = ("batch", "input_tokens", "output_tokens")


class Subject(NamedTuple):
    """What rows that can be priced together have in common."""

    machine: str
    engine: str
    model: str
    precision: Precision
    since: str = ""  # which version's kernels (`plans.engine.Engine.since`); "" is the last


@dataclass(frozen=True, eq=False)
class Sent:
    """Requests as they were sent in one run."""

    arrival: Floats  # seconds; NaN where it is not known
    inputs: Floats
    outputs: Floats


@dataclass(frozen=True, eq=False)
class Cases:
    """A table's rows, resolved.  `why` says why a row cannot be priced; "" when it can."""

    table: Table
    subject: NDArray[np.object_]  # Subject of each row, or None
    mesh: Mapping[str, Floats]
    replicas: Floats
    calibration: NDArray[np.bool_]  # rows that may be fitted to and are never scored
    why: Texts
    version: Texts  # of the engine; "" where nobody says
    sent: Mapping[tuple[str, str], Sent] = field(default_factory=dict)  # by run and stage

    def requests_of(self, row: int) -> Sent | None:
        """The single requests of a row's run and stage, where a file lists them."""
        run, stage = (str(self.table.words(c)[row]) for c in ("run", "stage"))
        return (self.sent.get((run, stage)) or self.sent.get((run, ""))) if run else None

    def groups(self) -> Iterator[tuple[Subject, NDArray[np.int64]]]:
        """Rows that can be priced, by subject."""
        found: dict[Subject, list[int]] = {}
        for i in np.flatnonzero(self.why == ""):
            found.setdefault(self.subject[i], []).append(int(i))
        for subject, rows in found.items():
            yield subject, np.array(rows)

    def by_version(self, rows: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Rows of each version of the engine."""
        for version in sorted(set(self.version[rows])):
            yield str(version), rows[self.version[rows] == version]

    @property
    def unpriced(self) -> Counter[str]:
        return Counter(str(w) for w in self.why if w)


def sent(tables: Iterable[Table]) -> dict[tuple[str, str], Sent]:
    """Single requests of all runs and stages."""
    found = {}
    for table in tables:
        inputs, outputs = table.values("input_tokens"), table.values("output_tokens")
        good = (table.flags == "") & (inputs >= 1) & (outputs >= 1)
        labels = [
            (str(r), str(s)) for r, s in zip(table.words("run"), table.words("stage"), strict=True)
        ]
        for label in set(labels):
            keep = good & np.array([x == label for x in labels])
            if keep.any():
                arrival = table.values("arrival")[keep]
                order = np.argsort(arrival, kind="stable")
                columns = (arrival, inputs[keep], outputs[keep])
                found[label] = Sent(*(c[order] for c in columns))
    return found


def resolve(
    table: Table, shelf: Shelf, requests: Mapping[tuple[str, str], Sent] | None = None
) -> Cases:
    """What each row of a table is of, as far as the catalogue knows it."""
    n = len(table)
    given = schema.defaults(table.file.rsplit("/", 1)[-1])
    why = table.flags.copy()
    why[why != ""] = "flagged: " + why[why != ""]
    subject = np.empty(n, dtype=object)
    ahead = np.ones(n)
    spelled: dict[tuple[str, ...], tuple[Subject | None, int, str]] = {}
    columns = [table.words(c) for c in SPELLED]
    memory = table.values("memory_gb")
    for i in range(n):
        key = (*(str(c[i]) for c in columns), f"{memory[i]:g}")
        if key not in spelled:
            spelled[key] = _subject(key, given, shelf)
        subject[i], ahead[i], wrong = spelled[key]
        why[i] = why[i] or wrong
    mesh, replicas, unclear = _mesh(table, ahead)
    why = np.where(why == "", unclear, why)
    why = np.where(why == "", _apart(table), why)
    split = _split(table, subject, mesh)
    version = [str(v).strip() or given.get("version", "") for v in table.words("version")]
    told = np.array(version, dtype=object)
    return Cases(table, subject, mesh, replicas, split, why, told, requests or {})


def resolve_machine(table: Table, shelf: Shelf) -> Texts:
    """The machine of each row, "" where nothing answers to it."""
    held = {h: shelf.machine_names(counted(h)[0]) or "" for h in set(table.words("hardware"))}
    return np.array([held[h] for h in table.words("hardware")], dtype=object)


def _subject(
    key: tuple[str, ...], given: Mapping[str, str], shelf: Shelf
) -> tuple[Subject | None, int, str]:
    hardware, engine, version, model, fmt, moe, kv, memory = key
    bare, count = (hardware, None) if shelf.machine_names(hardware) else counted(hardware)
    version = version or given.get("version", "")
    by_file = given.get(f"machine:{squeeze(bare)}")
    sized = f"{bare} {memory}GB" if memory not in ("nan", "") else bare
    machine = by_file or shelf.machine_names(sized) or shelf.machine_names(bare)
    engine = engine or given.get("engine") or _usual(machine, shelf)
    stack = shelf.engine_names(engine)
    name = given.get(f"model:{squeeze(model)}") or shelf.model_names(model)
    formats = _formats(fmt, moe, model, *shelf.checkpoint(name)) if name else ("bf16", "bf16")
    cache = precision(kv) if kv and kv.lower() != "auto" else ("bf16", "bf16")
    wrong = [
        f"unknown {what} {text!r}"
        for what, text, found in (
            ("machine", bare, machine),
            ("engine", engine, stack),
            ("model", model, name),
            ("precision", moe or fmt, formats),
            ("KV precision", kv, cache),
        )
        if found is None
    ]
    if not (machine and stack and name and formats and cache):
        return None, count or 1, "; ".join(wrong)
    stack = engine_at(stack, version)
    if stack not in shelf.engines:
        return None, count or 1, f"unknown engine {stack!r}"
    if shelf.machines[machine].style not in shelf.engines[stack].styles:
        return None, count or 1, f"{stack} does not run on {machine}"
    formats_of, since = Precision(*formats, kv=cache[0]), shelf.engines[stack].since(version)
    return Subject(machine, stack, name, formats_of, since), count or 1, ""


def _usual(machine: str | None, shelf: Shelf) -> str:
    """The engine where neither a row nor its file names one: what serves on such a machine."""
    style = shelf.machines[machine].style if machine else "kernel"
    return next((e.name for e in shelf.engines.values() if style in e.styles and e.spread), "vllm")


def _formats(fmt: str, moe: str, model: str, native: str, experts: bool) -> tuple[str, str] | None:
    """Weights and activations.

    Where a row tells experts apart theirs count, as most weights are experts'.  What a row does
    not say its model's name may, and then the checkpoint does.
    """
    return (precision(moe) if moe and experts else None) or precision(fmt, model, native)


def _apart(table: Table) -> Texts:
    """Why rows were not run as one engine of plain decoding: what no lane simulates yet."""
    why = np.full(len(table), "", dtype=object)
    for name, what in (
        ("disaggregated", "prefill and decode apart: no lane simulates it yet"),
        ("speculation", "speculative decoding: acceptance is not known"),
    ):
        said = [str(w).lower() not in (*NO, "agg", "aggregated", "off") for w in table.words(name)]
        why[np.array(said, dtype=bool)] = what
    return why


def _mesh(table: Table, ahead: Floats) -> tuple[dict[str, Floats], Floats, Texts]:
    """The mesh of each row: tensor parallelism takes what is not said to be something else."""
    pp, dp = table.values("pp", 1.0), table.values("dp", 1.0)
    ep = table.values("ep", 1.0)
    pp, dp, ep = (np.maximum(x, 1) for x in (pp, dp, ep))
    tp, devices = table.values("tp"), table.values("devices")
    total = np.where(np.isnan(devices), np.where(np.isnan(tp), ahead, np.nan), devices)
    tp = np.where(np.isnan(tp), np.maximum(total / (pp * dp), 1), tp)
    used = tp * pp * dp
    total = np.where(np.isnan(total), used, total)
    replicas = np.maximum(total / used, 1)
    unclear = np.full(len(table), "", dtype=object)
    whole = (tp >= 1) & (tp == np.round(tp)) & (replicas == np.round(replicas))
    unclear[~whole | (total < used)] = "devices and parallel sizes do not multiply"
    # Expert parallelism is over the devices of a stage.
    ep = np.minimum(np.maximum(ep, 1), tp * dp)
    return {"tp": tp, "pp": pp, "dp": dp, "ep": ep}, replicas, unclear


def _split(
    table: Table, subject: NDArray[np.object_], mesh: Mapping[str, Floats]
) -> NDArray[np.bool_]:
    """Which rows may be fitted to."""
    words = table.words("split")
    numbers = [table.values(c, 0.0) for c in ("batch", "concurrency", "rate")]
    numbers += [table.values(c, 0.0) for c in ("input_tokens", "output_tokens")]
    numbers += [mesh[a] for a in AXES]
    return np.array(
        [
            is_calibration(str(words[i]), "|".join((one, *(f"{c[i]:g}" for c in numbers))))
            for i, one in enumerate(str(s and s[:4]) for s in subject)  # versions are alike
        ],
        dtype=bool,
    )


def batches(cases: Cases, subject: Subject, rows: NDArray[np.int64], shelf: Shelf) -> Batches:
    """The static batches of some rows of one subject."""
    machine, engine = shelf.machines[subject.machine], shelf.engine(subject.engine, subject.since)
    table = cases.table
    return Batches(
        machine=machine,
        engine=replace(engine, policy=shelf.policy(engine, machine)),
        schedule=lower(shelf.program(subject.model), engine),
        precision=subject.precision,
        batch=table.values("batch", 1.0)[rows],
        inputs=table.values("input_tokens")[rows],
        outputs=table.values("output_tokens")[rows],
        mesh={k: v[rows] for k, v in cases.mesh.items()},
    )


def measured_static(table: Table) -> dict[str, Floats]:
    """Measured seconds of static batches: from durations, else from rates."""
    batch, inputs, outputs = (table.values(c) for c in LENGTHS)
    e2e = table.seconds("e2e")
    with np.errstate(divide="ignore", invalid="ignore"):
        from_output = batch * outputs / table.seconds("output_rate")
        from_total = batch * (inputs + outputs) / table.seconds("total_rate")
    e2e = np.where(np.isnan(e2e), from_output, e2e)
    e2e = np.where(np.isnan(e2e), from_total, e2e)
    found = {"ttft": table.seconds("ttft"), "tpot": table.seconds("tpot"), "e2e": e2e}
    return {q: np.where(np.isfinite(x), x, np.nan) for q, x in found.items()}


def sensible(cases: Cases, rows: NDArray[np.int64], columns: Iterable[str]) -> NDArray[np.bool_]:
    """Rows in which each of the number columns is positive and finite; the others are told why."""
    good = np.ones(len(rows), dtype=bool)
    for name in columns:
        values = cases.table.values(name)[rows]
        good &= np.isfinite(values) & (values > 0)
    cases.why[rows[~good]] = f"{', '.join(columns)} are not all positive numbers"
    return good
