"""What a fold takes in as it is made, and what must wait whole because it is needed again.

A stage that folds along an axis of what another makes takes it block by block: a block waits, and
not the tensor, however long the axis.  But where the stage also reads something for which all of
the tensor had to pass (a maximum of it, say), the tensor waits until that is known.
"""

from __future__ import annotations

from maquette.compiler.kernel import Kernel, Stage


def passing(kernel: Kernel) -> dict[tuple[str, str], tuple[str, ...]]:
    """Axes along which a stage takes an earlier result block by block: (stage, result) → axes.

    Stages go by the name of their last result.

    >>> from maquette.compiler.fuse import parse_kernel
    >>> text = '''kernel k
    ...   extent n=4, t=100
    ...   in x f32[n, t] strides 100, 1
    ...   out y f32[n] strides 1
    ...   f32 s[n, t] = exp(%x)
    ...   f32 m[n] = max over t: %s
    ...   f32 y[n] = add over t: %s - %m
    ... '''
    >>> passing(parse_kernel(text))
    {('m', 's'): ('t',)}
    """
    axes = {r.name: r.axes for s in kernel.stages for r in s.results}
    alive: dict[str, set[str]] = {}  # results on the way to one, none of them folded since
    passed: dict[str, set[str]] = {}  # results all of which had to pass before one is known
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for stage in kernel.stages:
        local = [n for n in dict.fromkeys(stage.reads) if n in axes]
        name = stage.results[-1].name
        for n in local:
            again = any(n in passed[m] for m in local if m != n)
            if (along := _folded(stage, axes[n])) and not again:
                found[name, n] = along
        before = {x for n in local for x in {n} | alive[n]}
        gone = {x for n in local for x in passed[n]}
        gone |= {x for x in before if _folded(stage, axes[x])}
        for r in stage.results:
            alive[r.name], passed[r.name] = before - gone, gone
    return found


def _folded(stage: Stage, axes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(a for a in axes if stage.kind == "reduce" and a in stage.over)
