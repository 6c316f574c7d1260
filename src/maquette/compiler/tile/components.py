"""Components of one fold whose axes lie on a chain, each set within the next.

Loops can be opened for one component after the other only so.  A component whose axes are not on
the chain is computed along more axes than it varies along, and read at the first of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from maquette.compiler.kernel import Kernel, Result, Stage
from maquette.ir.scalar import Apply, Arg, Lit, Scalar

Axes = frozenset[str]


def chained(kernel: Kernel) -> Kernel:
    """`kernel` with the components of every fold on a chain; itself if they are."""
    wider: dict[str, tuple[str, ...]] = {}
    for stage in kernel.stages:
        sets = _chain(stage.results)
        for r in stage.results:
            at = min((s for s in sets if s >= set(r.axes)), key=len)
            if at != set(r.axes):
                wider[r.name] = tuple(a for a in kernel.extents if a in at)
    if not wider:
        return kernel
    return replace(kernel, stages=tuple(_widened(s, wider) for s in kernel.stages))


def _chain(results: Sequence[Result]) -> list[Axes]:
    """Sets of axes, each within the next: that of all, and the commonest that fit."""
    counted = Counter(frozenset(r.axes) for r in results)
    found = [frozenset[str]().union(*counted)]
    for axes, _ in counted.most_common():
        if all(axes <= f or axes >= f for f in found):
            found.append(axes)
    return found


def _widened(stage: Stage, wider: Mapping[str, tuple[str, ...]]) -> Stage:
    results = tuple(replace(r, axes=wider.get(r.name, r.axes)) for r in stage.results)
    domain = {a for r in results for a in r.axes} | set(stage.over)

    def read(body: Scalar) -> Scalar:
        match body:
            case Arg(number, at):
                placed = tuple((n, read(i)) for n, i in at)
                known = {n for n, _ in at}
                axes = wider.get(stage.reads[number], ())
                first = tuple((a, Lit(0)) for a in axes if a not in domain and a not in known)
                return Arg(number, placed + first)
            case Apply(op, args):
                return Apply(op, tuple(read(a) for a in args))
            case _:
                return body

    return replace(stage, results=results, leaves=tuple(read(leaf) for leaf in stage.leaves))
