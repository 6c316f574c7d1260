"""The printed form of kernels and flows; `fuse.parse` reads it back to the very same.

    kernel k0
      extent n=4, t=100
      in x f32[n, t] strides 100, 1
      out y f32[n, t] strides 100, 1
      f32 m[n] = max over t: %x
      f32 y[n, t] = exp(%x - %m)

A tensor's extents are those of the axes of the kernel unless they are given; its buffer is that of
its own name unless it is named; extents and strides are numbers of elements.  In a body ``%x`` is
a tensor or an earlier result, a bare name is the coordinate along an axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from maquette.compiler.kernel import Flow, Interpreted, Kernel, Result, Stage, Tensor
from maquette.ir.graph import Graph
from maquette.ir.monoids import MONOIDS, Monoid, Streamed
from maquette.ir.text import expression, monoid_line, name, show


def show_flow(flow: Flow) -> str:
    """The text of a flow: its tensors, the arena, and every kernel."""
    lines = [f"flow {name(flow.name)}"]
    lines += [f"  in {tensor(t, {})}" for t in flow.inputs]
    lines += [f"  out {tensor(t, {})}" for t in flow.outputs]
    lines += [f"  buffer {name(b.name)} {b.bytes} at {b.offset}" for b in flow.arena]
    for kernel in flow.kernels:
        shown = show_kernel(kernel) if isinstance(kernel, Kernel) else show_interpreted(kernel)
        lines += ["", shown]
    return "\n".join(lines)


def show_kernel(kernel: Kernel) -> str:
    """The text of a kernel."""
    lines = [f"kernel {name(kernel.name)}"]
    if kernel.extents:
        extents = ", ".join(f"{name(a)}={n}" for a, n in kernel.extents.items())
        lines.append(f"  extent {extents}")
    lines += [f"  {monoid_line(m)}" for m in _monoids(kernel)]
    lines += [f"  in {tensor(t, kernel.extents)}" for t in kernel.inputs]
    lines += [f"  out {tensor(t, kernel.extents)}" for t in kernel.outputs]
    lines += [f"  {stage(s)}" for s in kernel.stages]
    return "\n".join(lines)


def show_interpreted(work: Interpreted) -> str:
    """The text of work for the interpreter: its tensors, and its graph, indented."""
    lines = [f"interpreted {name(work.name)}"]
    lines += [f"  in {tensor(t, {})}" for t in work.inputs]
    lines += [f"  out {tensor(t, {})}" for t in work.outputs]
    lines.append(f"  because {work.reason}")
    assert isinstance(work.graph, Graph)
    lines += [f"  {line}" for line in show(work.graph).split("\n")]
    return "\n".join(lines)


def tensor(held: Tensor, extents: Mapping[str, int]) -> str:
    """A tensor as ``x f32[n, t=5] strides 5, 1 of buffer + offset``."""
    axes = ", ".join(
        name(a) if extents.get(a) == n else f"{name(a)}={n}"
        for a, n in zip(held.axes, held.shape, strict=True)
    )
    text = f"{name(held.name)} {held.dtype}[{axes}]"
    if held.strides:
        text += f" strides {', '.join(map(str, held.strides))}"
    if held.buffer != held.name:
        text += f" of {name(held.buffer)}"
    return text + (f" + {held.offset}" if held.offset else "")


def stage(made: Stage) -> str:
    """A stage as ``f32 m[n] = max over t: %x``."""
    results = ", ".join(map(_result, made.results))
    operands = [f"%{r}" for r in made.reads]
    leaves = ", ".join(expression(leaf, operands) for leaf in made.leaves)
    listed = ", ".join(map(name, made.over))
    how = {"reduce": "over", "scan": "along"}.get(made.kind)
    head = f"{name(made.monoid.name)} {how} {listed}: " if made.monoid and how else ""
    return f"{results} = {head}{leaves}"


def _result(held: Result) -> str:
    return f"{held.dtype} {name(held.name)}[{', '.join(map(name, held.axes))}]"


def _monoids(kernel: Kernel) -> Iterable[Monoid]:
    found: dict[str, Monoid] = {}
    for monoid in (s.monoid for s in kernel.stages if s.monoid is not None):
        ops = [p.op for p in monoid.parts] if isinstance(monoid, Streamed) else []
        found.update((m.name, m) for m in (*ops, monoid))
    return [m for m in found.values() if MONOIDS.get(m.name) != m]
