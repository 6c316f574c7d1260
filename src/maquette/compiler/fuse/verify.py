"""Whether kernels and flows make sense; every fault with the stage or tensor that it is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from maquette.compiler.fuse.arena import end, lifetimes, overwritten
from maquette.compiler.fuse.index import axes_of
from maquette.compiler.kernel import Flow, Interpreted, Kernel, Stage, Tensor
from maquette.errors import Fault, ProgramError, nearest
from maquette.ir.scalar import reads as reads_of


def verify_flow(flow: Flow) -> tuple[Fault, ...]:
    """Every fault of a flow and of its kernels; none if it is sound."""
    found = [f for k in flow.kernels if isinstance(k, Kernel) for f in verify_kernel(k)]
    found += [f for k in flow.kernels for f in _tensors(k)]
    return (*found, *_buffers(flow), *_arena(flow))


def check_flow(flow: Flow) -> Flow:
    """The flow itself; raises ProgramError with all its faults if it has any."""
    faults = verify_flow(flow)
    if faults:
        raise ProgramError(*faults)
    return flow


def verify_kernel(kernel: Kernel) -> tuple[Fault, ...]:
    """Every fault of a kernel; none if it is sound."""
    known: dict[str, tuple[str, ...]] = {t.name: t.axes for t in kernel.inputs}
    faults: list[Fault] = []
    names = [t.name for t in kernel.inputs] + [r.name for s in kernel.stages for r in s.results]
    for name, count in Counter(names).items():
        if count > 1:
            faults.append(Fault(kernel.name, f"{count} tensors or results are called {name!r}"))
    for stage in kernel.stages:
        where = f"{kernel.name}: {stage.results[0].name if stage.results else 'a stage'}"
        faults += [replace(f, where=where) for f in _stage(stage, kernel, known)]
        known |= {r.name: r.axes for r in stage.results}
    made = {r.name: r for s in kernel.stages for r in s.results}
    for tensor in kernel.outputs:
        where = f"{kernel.name}: out {tensor.name}"
        if tensor.name not in made:
            hint = nearest(tensor.name, made)
            faults.append(Fault(where, "is the result of no stage", hint=hint))
        elif made[tensor.name].axes != tensor.axes:
            axes = ", ".join(made[tensor.name].axes)
            faults.append(Fault(where, f"has axes {', '.join(tensor.axes)}", axes))
        elif tensor.shape != tuple(kernel.extents.get(a, -1) for a in tensor.axes):
            faults.append(Fault(where, f"has shape {tensor.shape}", "the extents of its axes"))
    return tuple(faults)


def _stage(stage: Stage, kernel: Kernel, known: Mapping[str, tuple[str, ...]]) -> Iterator[Fault]:
    width = stage.monoid.width if stage.monoid is not None else 1
    if (stage.kind == "map") != (stage.monoid is None) or (stage.kind == "map" and stage.over):
        yield Fault("", f"a {stage.kind} with {stage.monoid or 'no monoid'} over {stage.over}")
    if not len(stage.leaves) == len(stage.results) == width:
        what = f"{len(stage.results)} results of {len(stage.leaves)} bodies"
        yield Fault("", what, f"{width} of each")
    domain = {a for r in stage.results for a in r.axes} | set(stage.over)
    for axis in sorted(domain - kernel.extents.keys()):
        yield Fault("", f"axis {axis!r} has no extent", hint=nearest(axis, kernel.extents))
    for result in stage.results:
        inside = set(stage.over) <= set(result.axes)
        if stage.kind == "reduce" and set(stage.over) & set(result.axes):
            yield Fault("", f"{result.name} has an axis that is combined away")
        if stage.kind == "scan" and not inside:
            yield Fault("", f"{result.name} lacks the axis it is scanned along")
    for name in stage.reads:
        if name not in known:
            yield Fault(
                "", f"reads {name!r}", "an input or an earlier result", nearest(name, known)
            )
    for leaf in stage.leaves:
        for axis in sorted({*axes_of(leaf)} - domain):
            yield Fault("", f"names axis {axis!r}", f"one of {', '.join(sorted(domain))}")
        for arg in reads_of(leaf):
            if not 0 <= arg.number < len(stage.reads):
                yield Fault("", f"no read {arg.number}", f"0 to {len(stage.reads) - 1}")
                continue
            name = stage.reads[arg.number]
            placed = {n for n, _ in arg.at}
            for axis in sorted(placed - {*known.get(name, ())}):
                yield Fault("", f"reads {name} at a coordinate of {axis!r}, which it lacks")
            for axis in known.get(name, ()):
                if axis not in placed and axis not in domain:
                    what = f"reads {name}, whose axis {axis!r} the stage lacks"
                    yield Fault("", what, "a coordinate for it")


def _tensors(kernel: Kernel | Interpreted) -> Iterator[Fault]:
    for tensor in (*kernel.inputs, *kernel.outputs):
        if not len(tensor.axes) == len(tensor.shape) == len(tensor.strides):
            what = f"{len(tensor.axes)} axes, {len(tensor.shape)} extents, "
            where = f"{kernel.name}: {tensor.name}"
            yield Fault(where, what + f"{len(tensor.strides)} strides", "as many of each")
        elif tensor.offset < 0 or _start(tensor) < 0:
            yield Fault(f"{kernel.name}: {tensor.name}", "reaches before its buffer")


def _start(tensor: Tensor) -> int:
    steps = zip(tensor.shape, tensor.strides, strict=True)
    return tensor.offset + sum(min(0, (n - 1) * s) for n, s in steps if n)


def _buffers(flow: Flow) -> Iterator[Fault]:
    """What is read has been written, and nothing reaches past the end of its buffer."""
    sizes = {b.name: b.bytes for b in flow.arena}
    sizes |= {t.buffer: end(t) for t in (*flow.inputs, *flow.outputs)}
    written = {t.buffer for t in flow.inputs}
    for kernel in flow.kernels:
        for tensor in (*kernel.inputs, *kernel.outputs):
            where = f"{kernel.name}: {tensor.name}"
            if tensor.buffer not in sizes:
                yield Fault(where, f"there is no buffer {tensor.buffer!r}", "", "")
            elif end(tensor) > sizes[tensor.buffer]:
                held = sizes[tensor.buffer]
                yield Fault(where, f"reaches to byte {end(tensor)}", f"no more than {held}")
        for tensor in kernel.inputs:
            if tensor.buffer not in written:
                where = f"{kernel.name}: {tensor.name}"
                yield Fault(where, f"reads {tensor.buffer!r} before it is written")
        written |= {t.buffer for t in kernel.outputs}
    for tensor in flow.outputs:
        if tensor.buffer not in written:
            yield Fault(f"{flow.name}: {tensor.name}", "is never written")


def _arena(flow: Flow) -> Iterator[Fault]:
    """Buffers that are alive together share no bytes, but for one that takes another's place."""
    lives = lifetimes(flow)
    places = {*overwritten(flow, lives).items()}
    for i, one in enumerate(flow.arena):
        for two in flow.arena[i + 1 :]:
            if one.name not in lives or two.name not in lives:
                continue
            apart = one.offset + one.bytes <= two.offset or two.offset + two.bytes <= one.offset
            first, second = sorted((lives[one.name], lives[two.name]), key=lambda x: x.first)
            if apart or first.last < second.first:
                continue
            replaced = {(one.name, two.name), (two.name, one.name)} & places
            if first.last > second.first or one.offset != two.offset or not replaced:
                yield Fault(f"{flow.name}: arena", f"{one.name} and {two.name} overlap")
