"""How many plans a CPU-second prices: arrays of meshes, precisions and batch sizes in one call.

    python bench/search.py [--plans 200000] [--model llama-3.1-70b] [--repeats 5]

A plan here is (tp, pp, dp, ep, formats, batch, context), priced for one decode step, every section
of every layer, with its collectives.  Prints the median over repeats with the spread.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from maquette.catalogue.engines import engine
from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.models.decoder import program
from maquette.plans.legality import PRECISIONS
from maquette.price.calibration import first_principles
from maquette.price.environment import batch_environment, mesh_environment, nothing, uniform
from maquette.price.rates import formats
from maquette.price.seconds import walk_seconds


def arrays(n: int, experts: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tp, pp = 2 ** rng.integers(0, 4, n), 2 ** rng.integers(0, 3, n)
    ep = np.where(rng.random(n) < 0.5, tp, 1) if experts else np.ones(n, dtype=int)
    return {"tp": tp, "pp": pp, "dp": np.ones(n, dtype=int), "ep": ep}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plans", type=int, default=200_000)
    parser.add_argument("--model", default="llama-3.1-70b")
    parser.add_argument("--machine", default="h100")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    where, config = machine(args.machine), model(args.model)
    schedule = lower(program(config), engine("vllm"))
    mesh = arrays(args.plans, schedule.experts is not None)
    rng = np.random.default_rng(1)
    batch = rng.integers(1, 512, args.plans).astype(float)
    context = rng.integers(1, 8192, args.plans).astype(float)
    cal = first_principles(where.name, "vllm")
    kinds = [formats(where, PRECISIONS[p], schedule) for p in ("bf16", "fp8")]
    pick = rng.integers(0, 2, args.plans)
    chosen = {k: np.array([f[k] for f in kinds])[pick] for k in kinds[0]}
    rates = []
    for _ in range(args.repeats):
        start = time.process_time()
        env = mesh_environment(schedule, mesh) | chosen
        shape = uniform(schedule, batch, 1.0, context)
        env |= batch_environment(schedule, mesh, prefill=nothing(schedule), decode=shape)
        seconds = sum(s.total for s in walk_seconds(schedule, where, cal, env))
        rates.append(args.plans / (time.process_time() - start))
        assert np.all(seconds > 0)
    low, high = min(rates), max(rates)
    middle = statistics.median(rates)
    print(f"{args.model} on {where.name}: {middle:,.0f} plans per CPU-second")
    print(f"median of {args.repeats}, from {low:,.0f} to {high:,.0f}; {args.plans:,} plans a call")


if __name__ == "__main__":
    main()
