"""Lowerings of losses, written out naively."""

from __future__ import annotations

from maquette.capture.lowerings.elementwise import div, power, sub, where
from maquette.capture.lowerings.indexing import picked
from maquette.capture.lowerings.reductions import log_softmax, mean, total
from maquette.capture.lowerings.table import (
    BOOL,
    apply,
    lowers,
    refuse,
)
from maquette.capture.positional import Positional


def _unweighted(weight: Positional | None) -> None:
    if weight is not None:
        raise refuse("a weighted loss", "weight=None")


def _reduced(x: Positional, reduction: str) -> Positional:
    if reduction == "none":
        return x
    return mean(x) if reduction == "mean" else total(x)


@lowers("mse_loss")
def mse_loss(
    x: Positional, target: Positional, reduction: str = "mean", weight: None = None
) -> Positional:
    """Squares of differences."""
    _unweighted(weight)
    return _reduced(power(sub(x, target), 2), reduction)


@lowers("l1_loss")
def l1_loss(
    x: Positional, target: Positional, reduction: str = "mean", weight: None = None
) -> Positional:
    """Absolute differences."""
    _unweighted(weight)
    return _reduced(apply("abs", sub(x, target)), reduction)


@lowers("nll_loss")
def nll_loss(
    x: Positional,
    target: Positional,
    weight: Positional | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Positional:
    """Minus the entry of the target's class."""
    _unweighted(weight)
    at = 0 if x.rank == 1 else 1
    kept = apply("ne", target, ignore_index, to=BOOL)
    losses = where(kept, apply("neg", picked(x, at, target)), 0.0)
    if reduction != "mean":
        return _reduced(losses, reduction)
    return div(total(losses), total(where(kept, 1.0, 0.0)))


@lowers("cross_entropy", "cross_entropy_loss")
def cross_entropy(
    x: Positional,
    target: Positional,
    weight: Positional | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Positional:
    """Minus the log-probability of the target, a class or a distribution."""
    if label_smoothing:
        raise refuse("label smoothing", "label_smoothing=0.0")
    at = 0 if x.rank == 1 else 1
    logs = log_softmax(x, at)
    if target.dtype.kind != "float":
        return nll_loss(logs, target, weight, ignore_index, reduction)
    found = apply("neg", total(apply("mul", logs, target), at))
    return _reduced(found, reduction)
