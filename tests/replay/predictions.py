"""Some three hundred predictions, to show which of them a change moves.

Everything that goes into a price meets here: shapes of every model family, machines with fitted,
borrowed and no calibration, meshes, formats, batches and contexts; and, of a few traffics, what
the clock makes of those prices.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from maquette.catalogue import calibrations, engines, machines, models
from maquette.compiler.lower import lower
from maquette.models.decoder import program
from maquette.plans.types import Infeasible, Mesh, Plan, Precision
from maquette.price.memory import fits
from maquette.price.replica import replica
from maquette.serve.simulate import simulate
from maquette.traffic.spec import generate, synthetic
from maquette.validate.serving import measures
from maquette.validate.static import AXES, Batches, prepare, seconds

FILE = Path(__file__).with_name("predictions.csv")
TOLERANCE = 1e-3  # relative: what counts as moved
BF16, FP8 = Precision(), Precision("fp8", "fp8", "fp8")
INT4, MXFP4, NVFP4 = (
    Precision("int4"), Precision("mxfp4"), Precision("nvfp4", "nvfp4", "fp8"),
)  # fmt: skip
SHAPES = ((1, 1024, 128), (32, 512, 256), (128, 4000, 500))  # sequences, tokens in, tokens out

# model, machine, engine, mesh, precision
DEPLOYMENTS: tuple[tuple[str, str, str, Mesh, Precision], ...] = (
    ("llama-2-7b", "a100-40gb", "vllm-0.6", Mesh(), BF16),
    ("llama-2-7b", "a100-40gb", "tensorrt-llm", Mesh(2), BF16),
    ("llama-3.1-8b", "h100-sxm", "vllm", Mesh(), BF16),
    ("llama-3.1-8b", "h100-sxm", "sglang", Mesh(), FP8),
    ("llama-3.1-8b", "l4", "vllm", Mesh(), INT4),
    ("llama-3.1-8b", "l40s", "vllm", Mesh(2), FP8),
    ("llama-3.1-8b", "tpu-v6e", "vllm", Mesh(4), BF16),
    ("llama-3.1-8b", "gaudi2", "deepspeed", Mesh(2), BF16),
    ("llama-3.1-8b", "trainium2", "vllm", Mesh(4), BF16),
    ("llama-3.1-8b", "xeon-8480", "vllm", Mesh(), BF16),
    ("llama-2-70b", "h100-sxm", "tensorrt-llm", Mesh(4), BF16),
    ("llama-3.1-70b", "h100-sxm", "vllm", Mesh(4), FP8),
    ("llama-3.1-70b", "h200", "vllm", Mesh(4, 2), BF16),
    ("llama-3.1-70b", "mi300x", "vllm", Mesh(2), FP8),
    ("llama-3.1-70b", "b200", "tensorrt-llm", Mesh(2), NVFP4),
    ("llama-3.1-70b", "a100-80gb", "vllm", Mesh(8), INT4),
    ("llama-3.1-405b", "h200", "vllm", Mesh(8), FP8),
    ("llama-3.1-405b", "gb200", "tensorrt-llm", Mesh(8), NVFP4),
    ("llama-3.1-405b", "h100-sxm", "vllm", Mesh(8, 2), FP8),
    ("qwen2.5-7b", "a10g", "vllm", Mesh(2), BF16),
    ("qwen3-32b", "h100-sxm", "vllm", Mesh(2), FP8),
    ("qwen3-32b", "gh200", "sglang", Mesh(), FP8),
    ("gemma-2-27b", "h100-sxm", "vllm", Mesh(2), BF16),
    ("mistral-7b", "a100-80gb", "vllm", Mesh(), BF16),
    ("phi-4", "rtx-4090", "vllm", Mesh(2), INT4),
    ("mixtral-8x7b", "h100-sxm", "vllm", Mesh(2), BF16),
    ("mixtral-8x22b", "mi325x", "vllm", Mesh(4), FP8),
    ("dbrx", "h200", "vllm", Mesh(8), BF16),
    ("arctic", "h200", "vllm", Mesh(8), FP8),
    ("qwen3-30b-a3b", "h100-sxm", "vllm", Mesh(1), FP8),
    ("qwen3-235b-a22b", "h200", "sglang", Mesh(8, ep=8), FP8),
    ("gpt-oss-120b", "h100-sxm", "vllm", Mesh(2), MXFP4),
    ("gpt-oss-120b", "b200", "vllm", Mesh(), MXFP4),
    ("deepseek-v2-lite", "h100-sxm", "vllm", Mesh(), BF16),
    ("deepseek-v3", "h200", "sglang", Mesh(8), FP8),
    ("deepseek-v3", "h200", "sglang", Mesh(1, dp=16, ep=16), FP8),
    ("deepseek-v3", "gb200", "tensorrt-llm", Mesh(8, ep=8), NVFP4),
    ("kimi-k2", "b200", "vllm", Mesh(8, ep=8), FP8),
    ("mamba2-2.7b", "h100-sxm", "vllm", Mesh(), BF16),
    ("bamba-9b", "h100-sxm", "vllm", Mesh(), BF16),
    ("granite-4.0-h-small", "a100-80gb", "vllm", Mesh(2), BF16),
)
# name, deployment, requests per second (0: a closed loop of 16)
SERVED = (
    ("light", DEPLOYMENTS[2], 2.0), ("busy", DEPLOYMENTS[2], 12.0), ("closed", DEPLOYMENTS[2], 0.0),
    ("large", DEPLOYMENTS[11], 3.0), ("experts", DEPLOYMENTS[25], 4.0),
)  # fmt: skip


def predictions() -> dict[str, float]:
    """Every prediction by its name; ms, tokens, or NaN where a plan does not fit."""
    found: dict[str, float] = {}
    for deployment in DEPLOYMENTS:
        found |= dict(_priced(*deployment))
    for name, deployment, rate in SERVED:
        found |= dict(_served(name, *deployment, rate))
    return found


def _priced(
    model: str, machine: str, engine: str, mesh: Mesh, precision: Precision
) -> Iterator[tuple[str, float]]:
    device, stack = machines.machine(machine), engines.engine(engine)
    schedule = lower(program(models.model(model)), stack)
    cal = calibrations.find(device, engine).of(model)
    policy = engines.policy(stack, device)
    plan = Plan(precision, mesh, policy, engine=engine)
    where = f"{model} {machine} {engine} {mesh} {precision.weights}"
    held = fits(schedule, device, stack, plan)
    yield f"{where} kv_tokens", np.nan if isinstance(held, Infeasible) else held.kv_tokens
    one = np.ones(len(SHAPES))
    columns = [np.array(c, dtype=float) for c in zip(*SHAPES, strict=True)]
    took = seconds(
        prepare(
            Batches(device, stack, schedule, precision, *columns,
                    {a: one * getattr(mesh, a) for a in AXES})
        ), cal,
    )  # fmt: skip
    for i, (batch, inputs, outputs) in enumerate(SHAPES):
        shape = f"{batch}x{inputs}+{outputs}"
        yield f"{where} {shape} prefill_ms", float(took.ttft[i]) * 1e3
        yield f"{where} {shape} decode_ms", float(took.tpot[i]) * 1e3


def _served(
    name: str, model: str, machine: str, engine: str, mesh: Mesh, precision: Precision, rate: float
) -> Iterator[tuple[str, float]]:
    device, stack = machines.machine(machine), engines.engine(engine)
    schedule = lower(program(models.model(model)), stack)
    plan = Plan(precision, mesh, engines.policy(stack, device), engine=engine)
    one = replica(schedule, device, stack, plan, calibrations.find(device, engine).of(model))
    assert not isinstance(one, Infeasible), one
    load = {"rate": rate} if rate else {"concurrency": 16}
    spec = synthetic(input_tokens=1000, output_tokens=200, **load)
    trace = simulate(generate(spec, 400, seed=1), [one], plan.policy)
    found = measures(trace)
    for quantity in ("ttft", "tpot", "e2e"):
        for statistic in ("mean", "p50"):
            yield f"served {name} {quantity}_{statistic}_ms", found[quantity, statistic] * 1e3


def load() -> dict[str, float]:
    """The predictions as they were when last written down."""
    with FILE.open(newline="", encoding="utf-8") as stream:
        return {row["prediction"]: float(row["value"]) for row in csv.DictReader(stream)}


def save(found: Mapping[str, float]) -> None:
    """Write them down."""
    with FILE.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["prediction", "value"])
        writer.writerows((k, f"{v:.6g}") for k, v in found.items())


def moved(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Which predictions moved, by how much, grouped and the largest ones named; "" if none did."""
    lines = [f"new: {k}" for k in after if k not in before]
    lines += [f"gone: {k}" for k in before if k not in after]
    by: dict[str, float] = {}
    for name in (k for k in after if k in before):
        old, new = before[name], after[name]
        if np.isfinite(old) != np.isfinite(new):
            by[name] = np.inf
        elif np.isfinite(old) and abs(new - old) > TOLERANCE * max(abs(old), 1e-12):
            by[name] = new / old - 1
    groups: dict[str, list[float]] = {}
    for name, change in by.items():
        groups.setdefault(name.rsplit(" ", 1)[-1], []).append(change)
    for quantity, changes in sorted(groups.items()):
        total = sum(k.endswith(" " + quantity) for k in after)
        middle = float(np.median(changes))
        lines.append(f"{quantity}: {len(changes)} of {total} moved, median {middle:+.2%}")
    for name in sorted(by, key=lambda k: -abs(by[k]))[:10]:
        lines.append(f"  {by[name]:+9.2%}  {before[name]:.6g} → {after[name]:.6g}  {name}")
    return "\n".join(lines)
