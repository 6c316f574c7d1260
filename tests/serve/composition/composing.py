"""Small compositions and streams for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from maquette.serve.composition.timing import Stated
from maquette.serve.composition.types import Composition, Node, Stream, Swapping
from maquette.traffic.types import Requests

MS = 10**6  # ns
GB = 10**9


def stated(prefill_ms: float, step_ms: float, layers: int = 1) -> Stated:
    return Stated(prefill_ms * 1e-3, step_ms * 1e-3, "assumed", layers)


def composition(
    nbytes: Sequence[int],
    room: int,
    swapping: Swapping | None = None,
    *,
    rate: float = 1e12,
    prefill_ms: float = 30,
    step_ms: float = 2,
    layers: int = 1,
    router_tokens: int = 1,
    pinned: frozenset[int] = frozenset(),
) -> Composition:
    """Every expert on one node that also routes."""
    timing = stated(prefill_ms, step_ms, layers)
    hosted = dict.fromkeys(range(len(nbytes)), timing)
    node = Node("node", hosted, pinned, room, rate, router=timing)
    names = tuple(f"e{i}" for i in range(len(nbytes)))
    return Composition(names, tuple(nbytes), (node,), swapping or Swapping(), router_tokens)


def stream(experts: Sequence[int], batch: int = 0, output: int = 5, **columns) -> Stream:
    n = len(experts)
    requests = Requests(
        arrival_ns=np.asarray(columns.get("arrivals", np.zeros(n)), np.int64),
        input_tokens=np.full(n, 100, np.int64),
        output_tokens=np.asarray(columns.get("outputs", np.full(n, output)), np.int64),
        concurrency=columns.get("concurrency", 0),
    )
    return Stream(requests, np.asarray(experts, np.int64), batch)


asked = st.lists(st.integers(0, 7), min_size=1, max_size=40)
sizes = st.lists(st.integers(1, 9), min_size=8, max_size=8).map(lambda b: [x * GB for x in b])
