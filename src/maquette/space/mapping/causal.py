"""Whether a fold over positions takes in none that are later than the tile at hand.

Where it does not, tiles may follow each other although every one of them reads what all earlier
ones left: the fold's leaf is the identity beyond the position of its result.
"""

from __future__ import annotations

from maquette.compiler.kernel import Kernel, Stage, Tensor
from maquette.ir.monoids import Streamed
from maquette.ir.scalar import Apply, Index, Lit, Scalar


def reads_earlier(kernel: Kernel, tensor: Tensor, streamed: frozenset[str]) -> bool:
    """Whether all that reads `tensor` is guarded so along one of its axes."""
    return any(
        _guarded(kernel, tensor.name, axis, streamed, extent)
        for axis, extent in zip(tensor.axes, tensor.shape, strict=True)
        if axis not in streamed
    )


def _guarded(kernel: Kernel, name: str, axis: str, streamed: frozenset[str], extent: int) -> bool:
    outputs = {t.name for t in kernel.outputs}
    for stage in kernel.stages:
        if name not in stage.reads:
            continue
        if axis in stage.over:
            if not _identity_beyond(stage, axis, streamed, kernel, extent):
                return False
            continue
        for result in stage.results:
            if result.name in outputs or axis not in result.axes:
                return False
            if not _guarded(kernel, result.name, axis, streamed, extent):
                return False
    return True


def _identity_beyond(
    stage: Stage, axis: str, streamed: frozenset[str], kernel: Kernel, extent: int
) -> bool:
    monoid, leaf = stage.monoid, stage.leaves[0]
    if stage.kind != "reduce" or monoid is None:
        return False
    if len(stage.leaves) > 1 and not isinstance(monoid, Streamed):
        return False
    match leaf:
        case Apply("where", (test, _, Lit(value))) if Lit(value) == monoid.identity[0]:
            return any(_earlier(t, axis, streamed, kernel, extent) for t in _all(test))
    return False


def _all(test: Scalar) -> list[Scalar]:
    if isinstance(test, Apply) and test.op == "and":
        return [t for a in test.args for t in _all(a)]
    return [test]


def _earlier(
    test: Scalar, axis: str, streamed: frozenset[str], kernel: Kernel, extent: int
) -> bool:
    """``axis <= s + past``, where what the tile adds begins no earlier than at `past`."""
    match test:
        case Apply("le", (Index(a), Index(s))) if a == axis and s in streamed:
            return True
        case Apply("le", (Index(a), Apply("add", (Index(s), Lit(past))))):
            return a == axis and s in streamed and past <= extent - kernel.extents[s]
        case Apply("le", (Index(a), Apply("add", (Lit(past), Index(s))))):
            return a == axis and s in streamed and past <= extent - kernel.extents[s]
    return False
