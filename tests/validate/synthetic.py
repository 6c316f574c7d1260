"""Rows made from a known calibration."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np

from maquette.compiler.lower import lower
from maquette.plans.types import Precision
from maquette.price.calibration import first_principles
from maquette.validate.static import AXES, Batches, prepare, seconds

TRUTH = {
    "matrix": 0.62, "rows": 80.0, "memory": 0.88, "kv": 0.6, "launch": 5e-6, "step": 2e-3,
    "seq": 2e-5, "collective": 2e-5,
}  # fmt: skip
HEADINGS = (
    "Device", "framework", "version", "model", "tp_size", "batch_size", "input_len", "output_len",
    "dtype", "ttft_ms", "latency_s", "flag_reason",
)  # fmt: skip


def truth(machine="h100-sxm", engine="vllm-0.6"):
    cal = first_principles(machine, engine)
    return replace(cal, values={**cal.values, **TRUTH})


def grid(known, machine, engine, model, shapes):
    """Batches of ``(batch, inputs, outputs, tp)``."""
    batch, inputs, outputs, tp = (np.array(x, dtype=float) for x in zip(*shapes, strict=True))
    one = np.ones_like(batch)
    return Batches(
        known.machines[machine],
        known.engines[engine],
        lower(known.program(model), known.engines[engine]),
        Precision(),
        batch,
        inputs,
        outputs,
        dict.fromkeys(AXES, one) | {"tp": tp},
    )


SHAPES = [
    (b, i, o, tp)
    for b in (1, 16, 64)
    for i, o in ((128, 128), (1024, 512), (2048, 256))
    for tp in (1, 2, 4)
]


def rows(
    known,
    noise=0.03,
    seed=1,
    models=("llama-2-7b", "llama-3-8b", "qwen2-7b", "llama-3-70b"),
    true=None,
):
    """Lines of a CSV as somebody measured them on a machine of the true calibration."""
    rng = np.random.default_rng(seed)
    lines = []
    for model in models:
        prepared = prepare(grid(known, "h100-sxm", "vllm-0.6", model, SHAPES))
        took = seconds(prepared, true or truth())
        for i, (b, inputs, outputs, tp) in enumerate(SHAPES):
            if prepared.why[i] == "":
                scatter = np.exp(rng.normal(0, noise, 2))
                lines.append(
                    ["H100-SXM5-80GB", "vLLM", "0.6.1", model, tp, b, inputs, outputs, "fp16",
                     took.ttft[i] * 1e3 * scatter[0], took.e2e[i] * scatter[1], ""]
                )  # fmt: skip
    return lines


def write(path, lines, headings=HEADINGS):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(headings)
        writer.writerows(lines)
