"""Flops that pruned weights save: of the products with a layer's weights, and of nothing else."""

from __future__ import annotations

from maquette.compiler.schedule import Schedule
from maquette.price.environment import batch_environment, mesh_environment, nothing, uniform
from maquette.price.work import phases, split

ONE = {"tp": 1, "pp": 1, "dp": 1, "ep": 1}


def flop_reduction(
    schedule: Schedule, context: int, sparsity: float, *, causal: bool = True
) -> float:
    """By what factor the matrix flops of training on sequences shrink with pruned weights.

    `sparsity` is the share of weights that are zero.  Attention, embedding and head stay dense.  A
    training step computes each product three times over (twice more backward), sparse and dense
    ones alike, so that cancels.  Papers that count all pairs of tokens and
    not only those a causal mask leaves are met with ``causal=False``.
    """
    dense, prunable = 0.0, 0.0
    shape, none = uniform(schedule, 1, context, context), nothing(schedule)
    shape["seqs"] = float(context)  # training asks the head about every position
    if not causal:
        shape |= {f"pairs:{n}": float(context**2) for n in schedule.windows}
    env = mesh_environment(schedule, ONE)
    env |= batch_environment(schedule, ONE, prefill=shape, decode=none)
    for section in schedule.sections:
        inside = section.part in schedule.layered and bool(section.weights.terms)
        for work in split(section):
            for _, values in phases(section, work.part, env):
                flops = float(work.matrix(values)) * schedule.times[section.part]
                dense += flops
                prunable += flops * (inside and work.part != "attention")
    return dense / (dense - sparsity * prunable)
