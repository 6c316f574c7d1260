"""Turn published summaries into rows that `maquette calibrate` reads.

Two of the published files are not rows: ``decode_fits.csv`` holds the constants of a formula that
somebody fitted to measured decode steps, and ``kernel_figures.csv`` holds rates of single kernels.
This script writes what they stand for, ``static_decode.csv``, ``kernel_attention.csv`` and
``kernel_collectives.csv``.  The decode rows are reconstructed from a fit and carry its stated mean
error; they are not measurements.

    t = (weights + context) / (devices · share · bandwidth) + layers · (c + a [devices > 1]) + t0

The five models of the source's fit are of 7 to 72 billion parameters and not named; five catalogue
models of that range stand in for them.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from maquette.catalogue.engines import engine_at
from maquette.compiler.lower import lower
from maquette.plans.types import Infeasible, Mesh, Plan, Precision
from maquette.price.environment import batch_environment, mesh_environment, nothing, uniform
from maquette.price.memory import fits
from maquette.price.rates import formats
from maquette.validate.shelf import shelf

HERE = Path(__file__).with_name("published")
MODELS = ("llama-2-7b", "llama-3-8b", "qwen2-7b", "llama-2-70b", "llama-3-70b")
INPUT, OUTPUT = 1024, 1024
ATTENTION = {"batch": 4, "heads": 32, "kv_heads": 32, "head_dim": 128, "input_tokens": 8192}
ALL_REDUCE_BYTES, ALL_REDUCE_DEVICES = 512e6, 8


def read(name: str, folder: Path = HERE) -> list[dict[str, str]]:
    with (folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def decode_rows(folder: Path = HERE) -> list[dict[str, Any]]:
    """One row for every stack, model and number of devices that holds the model."""
    known = shelf()
    rows = []
    for fit in read("decode_fits.csv", folder):
        machine = known.machines[fit["machine"]]
        engine = known.engines[engine_at(fit["engine"], fit["version"])]
        for model in MODELS:
            schedule = lower(known.program(model), engine)
            for devices in map(int, fit["devices"].split()):
                if isinstance(
                    fits(schedule, machine, engine, Plan(mesh=Mesh(devices))), Infeasible
                ):
                    continue
                seconds = step(fit, schedule, machine, devices)
                rows.append(
                    {
                        "hardware": machine.name,
                        "engine": fit["engine"],
                        "version": fit["version"],
                        "model": model,
                        "precision": "bf16",
                        "tp": devices,
                        "batch": 1,
                        "input_tokens": INPUT,
                        "output_tokens": OUTPUT,
                        "tpot_s": f"{seconds:.6g}",
                        "sigma": fit["mean_error"],
                        "evidence": "reconstructed from a published fit",
                        "source": fit["source"],
                    }
                )
    return rows


def step(fit: dict[str, str], schedule: Any, machine: Any, devices: int) -> float:
    """Seconds of the mean decode step by the published formula."""
    mesh = {"tp": 1, "pp": 1, "dp": 1, "ep": 1}
    decode = uniform(schedule, 1, 1, INPUT + OUTPUT / 2)
    env = {
        **mesh_environment(schedule, mesh),
        **formats(machine, Precision(), schedule),
        **batch_environment(schedule, mesh, prefill=nothing(schedule), decode=decode),
    }
    env |= {k.removeprefix("decode."): v for k, v in env.items() if k.startswith("decode.")}
    nbytes = sum(
        float(m.bytes(env)) * schedule.times[section.part]
        for section in schedule.sections
        for m in section.reads
        if m.role in ("weight", "state")
    )
    bandwidth = float(machine.tiers[machine.main].bandwidth.value) * float(fit["memory_share"])
    layer = float(fit["launch_us_per_layer"])
    layer += float(fit["collective_us_per_layer"]) if devices > 1 else 0.0
    fixed = schedule.layers * layer * 1e-6 + float(fit["step_ms"]) * 1e-3
    return nbytes / (devices * bandwidth) + fixed


def attention_rows() -> list[dict[str, Any]]:
    rows = []
    a = ATTENTION
    pairs = a["batch"] * a["input_tokens"] * (a["input_tokens"] + 1) / 2
    for figure in read("kernel_figures.csv"):
        if figure["sort"] == "attention":
            seconds = 4 * pairs * a["heads"] * a["head_dim"] / (float(figure["value"]) * 1e12)
            rows.append(
                {
                    "hardware": figure["machine"],
                    "engine": figure["engine"],
                    "phase": "prefill",
                    **a,
                    "latency_ms": f"{seconds * 1e3:.6g}",
                    "source": figure["source"],
                }
            )
    return rows


def collective_rows() -> list[dict[str, Any]]:
    rows = []
    n = ALL_REDUCE_DEVICES
    for figure in read("kernel_figures.csv"):
        if figure["sort"] == "all-reduce":
            seconds = 2 * (n - 1) / n * ALL_REDUCE_BYTES / (float(figure["value"]) * 1e9)
            rows.append(
                {
                    "hardware": figure["machine"],
                    "collective": "all-reduce",
                    "elements": int(ALL_REDUCE_BYTES / 2),
                    "element_bytes": 2,
                    "devices": n,
                    "latency_ms": f"{seconds * 1e3:.6g}",
                    "source": figure["source"],
                }
            )
    return rows


def write(name: str, rows: list[dict[str, Any]]) -> None:
    with (HERE / name).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    write("static_decode.csv", decode_rows())
    write("kernel_attention.csv", attention_rows())
    write("kernel_collectives.csv", collective_rows())
