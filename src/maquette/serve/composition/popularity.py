"""Which expert a request is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from maquette.errors import Fault, InputError
from maquette.serve.composition.closed import zipf
from maquette.serve.composition.types import Ints


@dataclass(frozen=True)
class Popularity:
    """How often experts are asked for: alike, by rank ``rank**-s`` in the order they are listed,
    as weights that are listed with them, or as the column of a trace names them, row by row."""

    kind: Literal["uniform", "zipf", "weights", "trace"] = "uniform"
    s: float | None = None
    file: str | None = None
    column: str = "model"

    def __post_init__(self) -> None:
        faults = []
        if (self.kind == "zipf") != (self.s is not None):
            what = "is missing" if self.s is None else f"does not go with kind {self.kind!r}"
            faults.append(Fault("s", what, "the exponent of Zipf's law, such as 1.0"))
        elif self.s is not None and not 0 <= self.s <= 10:
            faults.append(Fault("s", f"{self.s} is out of range", "0 to 10"))
        if (self.kind == "trace") != (self.file is not None):
            what = "is missing" if self.file is None else f"does not go with kind {self.kind!r}"
            faults.append(Fault("file", what, "a CSV, JSONL or parquet trace"))
        if faults:
            raise InputError(*faults)

    def __str__(self) -> str:
        if self.kind == "zipf":
            return f"Zipf, exponent {self.s:g}"
        return f"column {self.column} of {self.file}" if self.kind == "trace" else self.kind


def shares(popularity: Popularity, weights: Sequence[float | None]) -> Sequence[float]:
    """The share of requests of every expert, 1 in all; `weights` are those listed with them.

    >>> shares(Popularity("weights"), [3.0, 1.0, 0.0])
    [0.75, 0.25, 0.0]
    """
    listed = [w is not None for w in weights]
    if popularity.kind != "weights":
        if any(listed):
            what = f"are listed, and the popularity is {popularity.kind!r}"
            raise InputError(Fault("experts: weights", what, hint="kind = 'weights'"))
        return list(zipf(len(weights), popularity.s or 0.0).tolist())
    if not all(listed):
        missing = [i for i, there in enumerate(listed) if not there]
        raise InputError(Fault(f"experts[{missing[0]}].weight", "is missing", "0 or more"))
    given = [float(w or 0.0) for w in weights]
    bad = [i for i, w in enumerate(given) if not 0 <= w < float("inf")]
    if bad:
        raise InputError(
            *(Fault(f"experts[{i}].weight", f"is {given[i]:g}", "0 or more") for i in bad)
        )
    if not sum(given):
        raise InputError(Fault("experts: weights", "are all zero: no expert is ever asked for"))
    return [w / sum(given) for w in given]


def drawn(chances: Sequence[float], n: int, seed: int) -> Ints:
    """Experts of `n` requests, independently; those of a smaller `n` are the same.

    >>> drawn([0.0, 1.0], 3, seed=0).tolist()
    [1, 1, 1]
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(1000,))  # a stream beside the traffic's
    u = np.random.Generator(np.random.PCG64(sequence)).random(n)
    edges = np.cumsum(chances)
    found = np.searchsorted(edges / edges[-1], u, side="right")
    return np.asarray(found, dtype=np.int64)
