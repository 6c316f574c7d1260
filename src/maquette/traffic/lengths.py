"""How long prompts and answers are: a distribution of whole numbers of tokens, by inversion."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, isfinite, log, sqrt
from typing import Literal

import numpy as np

from maquette.errors import Fault, InputError
from maquette.traffic.types import Floats, Ints

Z90 = 1.2815515655446004  # the normal quantile of 0.9
LONGEST = 10**9  # tokens: no draw is longer


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths, rounded to whole tokens and kept within `min` .. `max`.

    - ``fixed``: always `p50`;
    - ``uniform``: every whole number from `min` to `max`, equally likely;
    - ``lognormal``: median `p50`, standard deviation `sigma` of the logarithm;
    - ``quantiles``: the pairs (probability, length) of `quantiles`, from probability 0 to 1;
      between them the logarithm of the length is linear in the probability.

    `fixed`, `uniform`, `lognormal` and `quantiles` below build them.  Raises InputError.
    """

    kind: Literal["fixed", "uniform", "lognormal", "quantiles"]
    p50: float | None = None
    sigma: float | None = None
    quantiles: tuple[tuple[float, float], ...] = ()
    min: int = 1
    max: int | None = None

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise InputError(*faults)

    def at(self, u: Floats) -> Ints:
        """The lengths at the uniform variates `u` in (0, 1)."""
        top = LONGEST if self.max is None else self.max
        if self.kind == "uniform":
            real = np.minimum(self.min + np.floor(u * (top - self.min + 1)), top)
        elif self.kind == "fixed":
            real = np.full(len(u), self.p50)
        elif self.kind == "lognormal":
            from scipy.special import ndtri  # slow to import, and a trace needs none of it

            assert self.p50 is not None and self.sigma is not None
            with np.errstate(over="ignore"):
                real = np.exp(log(self.p50) + self.sigma * ndtri(u))
        else:
            p, length = np.array(self.quantiles).T
            real = np.exp(np.interp(u, p, np.log(length)))
        whole: Ints = np.rint(np.clip(real, self.min, top)).astype(np.int64)
        return whole

    def mean(self) -> float:
        """The mean length in tokens, to about 0.1 %, from 65,536 equally likely quantiles."""
        return float(self.at((np.arange(2**16) + 0.5) / 2**16).mean())

    def __str__(self) -> str:
        bounds = f" in {self.min}..{self.max}" if self.max is not None else ""
        if self.kind == "uniform":
            return f"uniform {self.min}..{self.max}"
        if self.kind == "quantiles":
            return f"{len(self.quantiles)} quantiles (mean {self.mean():.0f}){bounds}"
        if self.kind == "lognormal":
            return f"lognormal (p50 {self.p50:.4g}, sigma {self.sigma:.3g}){bounds}"
        return f"fixed {self.p50:g}"


def _faults(x: Lengths) -> list[Fault]:
    out = []
    if x.min < 1:
        out.append(Fault("min", f"{x.min} is out of range", "1 token or more"))
    if x.max is not None and x.max < x.min:
        out.append(Fault("max", f"{x.max} is below min = {x.min}"))
    if x.kind == "uniform" and x.max is None:
        out.append(Fault("max", "is missing", "the longest length of a uniform distribution"))
    needs = {"fixed": ("p50",), "lognormal": ("p50", "sigma")}.get(x.kind, ())
    for name in ("p50", "sigma"):
        value = getattr(x, name)
        if name not in needs and value is not None:
            out.append(Fault(name, f"does not go with kind {x.kind}"))
        elif name in needs and (value is None or not 0 < value < float("inf")):
            out.append(Fault(name, "is missing" if value is None else f"{value} is out of range"))
    if x.kind == "fixed" and x.p50 is not None and x.p50 < 1:
        out.append(Fault("p50", f"{x.p50} is out of range", "1 token or more"))
    if (x.kind == "quantiles") != bool(x.quantiles):
        out.append(Fault("quantiles", f"does not go with kind {x.kind}"))
    p, lengths = [q[0] for q in x.quantiles], [q[1] for q in x.quantiles]
    if p and (p[0] != 0 or p[-1] != 1 or any(a >= b for a, b in pairwise(p))):
        out.append(Fault("quantiles", "probabilities do not rise from 0 to 1"))
    if any(not (isfinite(a) and a >= 1) for a in lengths) or lengths != sorted(lengths):
        out.append(Fault("quantiles", "lengths do not rise from 1 token or more"))
    return out


def fixed(tokens: int) -> Lengths:
    """Always `tokens`."""
    return Lengths("fixed", p50=float(tokens))


def uniform(low: int, high: int) -> Lengths:
    """Every whole number from `low` to `high`."""
    return Lengths("uniform", min=low, max=high)


def quantiles(table: dict[float, float]) -> Lengths:
    """An empirical table {probability: length}, from probability 0 to 1."""
    return Lengths("quantiles", quantiles=tuple(sorted(table.items())))


def lognormal(
    *,
    mean: float | None = None,
    p50: float | None = None,
    p90: float | None = None,
    sigma: float | None = None,
    cv: float | None = None,
    max: int | None = None,
) -> Lengths:
    """A lognormal from any two of its mean, its median, its p90 and its spread (`sigma` or `cv`).

    >>> x = lognormal(mean=1165, cv=0.8)
    >>> round(x.p50), round(x.mean())
    (910, 1165)
    """
    given = {"mean": mean, "p50": p50, "p90": p90, "sigma": sigma, "cv": cv}
    known = {k: v for k, v in given.items() if v is not None}
    faults = [
        Fault(f"lognormal {k}", f"{v} is out of range", "a positive number")
        for k, v in known.items()
        if not 0 < v < float("inf")
    ]
    if len(known) != 2 or {"sigma", "cv"} <= set(known):
        names = ", ".join(known) or "nothing"
        faults.append(
            Fault("lognormal", f"cannot be fixed by {names}", "two of mean, p50, p90, sigma")
        )
    if faults:
        raise InputError(*faults)
    if cv is not None:
        sigma = sqrt(log(1 + cv * cv))
    if sigma is None:
        sigma = _spread(mean, p50, p90)
    if p50 is None:
        p50 = mean / exp(sigma * sigma / 2) if mean else (p90 or 0) / exp(Z90 * sigma)
    return Lengths("lognormal", p50=p50, sigma=sigma, max=max)


def _spread(mean: float | None, p50: float | None, p90: float | None) -> float:
    """The sigma of a lognormal with two of these.  InputError where there is none."""
    expected = "p50 < mean, p50 < p90 and ln(p90/mean) < 0.82"
    if p50 and p90 and p90 > p50:
        return log(p90 / p50) / Z90
    if mean and p50 and mean > p50:
        return sqrt(2 * log(mean / p50))
    if mean and p90 and 0 < log(p90 / mean) < Z90**2 / 2:
        return Z90 - sqrt(Z90**2 - 2 * log(p90 / mean))
    shown = f"mean {mean}, p50 {p50}, p90 {p90}".replace("None", "free")
    raise InputError(Fault("lognormal", f"none has {shown}", expected))
