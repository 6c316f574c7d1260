"""Which steps an engine replays from captured graphs, and at which size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.plans.engine import Capture, Engine
from maquette.plans.types import Policy

Floats = NDArray[np.float64]
MANY = 4  # tensor parallel devices from which engines allow more graphs


def largest(engine: Engine, policy: Policy, tp: int, size: float) -> int:
    """The largest size captured on devices of `size` bytes; 0 where nothing is captured.

    >>> from maquette.catalogue.engines import engine
    >>> vllm = engine("vllm")
    >>> largest(vllm, vllm.policy, 1, 80e9), largest(engine("sglang"), vllm.policy, 1, 24e9)
    (512, 48)
    """
    rule = engine.capture
    if rule is None or policy.graphs == "none":
        return 0
    if policy.captured is not None:
        return policy.captured
    limits = [rule.largest, rule.per_seq * policy.max_seqs, policy.max_batched_tokens]
    for below, few, many in rule.by_memory:
        if size < below * 2**30:
            limits.append(few if tp < MANY else many)
            break
    return min(limits)


def captured(rule: Capture | None, n: Any, most: Any) -> tuple[Floats, NDArray[np.bool_]]:
    """The size that steps of `n` tokens run at, and whether a graph of that size is replayed.

    Steps above `most` run as they are.

    >>> sizes, replayed = captured(Capture(((4, 1), (32, 8)), 32), [3, 5, 20, 33], 32)
    >>> sizes.tolist(), replayed.tolist()
    ([3.0, 8.0, 24.0, 33.0], [True, True, True, False])
    """
    n, most = np.broadcast_arrays(np.asarray(n, dtype=float), np.asarray(most, dtype=float))
    if rule is None:
        return n, np.zeros(n.shape, dtype=bool)
    upto, stride = (np.array(column, dtype=float) for column in zip(*rule.ladder, strict=True))
    at = np.minimum(np.searchsorted(upto, n), len(upto) - 1)
    size = np.minimum(np.ceil(n / stride[at]) * stride[at], most)
    replayed = n <= most
    return np.where(replayed, size, n), replayed
