"""What every recorder shares: inputs, places in the source, errors, and the finished graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from maquette.capture.captured import Captured
from maquette.capture.expressions import op
from maquette.capture.naming import settled
from maquette.capture.pointwise import pointwise
from maquette.capture.positional import Dim, Positional, fresh, solid
from maquette.capture.positional import whole as single
from maquette.errors import Fault, MaquetteError, NotYet
from maquette.ir.dtypes import DType, dtype
from maquette.ir.graph import Graph
from maquette.ir.patterns import Input, Map, Reduce, Role, Value, View, draft, section
from maquette.ir.scalar import Arg, Lit

_WEIGHT_HINTS: dict[int, Sequence[str]] = {
    1: "d", 2: "fd", 3: "edf", 4: ("o", "c", "ky", "kx"), 5: ("o", "c", "kz", "ky", "kx"),
}  # fmt: skip
_HINTS: dict[int, Sequence[str]] = {0: "", 1: "n", 2: "sd", 3: "bsd", 4: "bhsd", 5: "bchsd"}


@dataclass
class Trace:
    """What has been recorded so far."""

    constants: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    foreign: tuple[str, ...] = ()  # folders whose frames are nobody's source

    def input(self, name: str, shape: Sequence[int], format: DType, role: Role) -> Positional:
        """A tensor from outside, with an axis for every dimension."""
        hints: Sequence[str] = _HINTS.get(len(shape), "ijklmnopqrstuvwxyz")
        if len(shape) == 4 and shape[1] in (1, 3) and role != "weight":
            hints = "bcyx"
        if len(shape) == 2 and format.kind == "int":
            hints = "bs"
        if role == "weight":
            hints = _WEIGHT_HINTS.get(len(shape), hints)
        axes = tuple(fresh(h, n) for h, n in zip(hints, shape, strict=False))
        value = draft(Input, axes=axes, dtype=format, name=name, role=role, section="")
        return Positional(tuple((a,) for a in axes), value, format)

    def unsigned(self, name: str, shape: Sequence[int], role: Role) -> Positional:
        """Bytes without a sign, from outside: those with one, modulo 256."""
        held = self.input(name, shape, dtype("int8"), role)
        return pointwise(lambda v: op("mod", v, Lit(256)), held, to=dtype("i32"))

    def line(self) -> str:
        """The innermost line of the user's source, as ``file:line``."""
        frame = sys._getframe(1)
        while frame is not None:
            path = frame.f_code.co_filename
            if not path.startswith(self.foreign) and not path.startswith("<"):
                return f"{path}:{frame.f_lineno}"
            if frame.f_back is None:
                return ""
            frame = frame.f_back
        return ""

    def section(self, operator: str, line: str) -> str:
        """The section of an operator on a line; the same for every time it is run."""
        number = line.rpartition(":")[2]
        name = f"{operator.strip('_')}.{number}" if number else operator.strip("_")
        base, serial = name, 1
        while self.lines.setdefault(name, line) != line:
            serial += 1
            name = f"{base}.{serial}"
        return name

    def run(self, operator: str, lower: Callable[[], Any], line: str | None = None) -> Any:
        """Call a lowering in its section; what goes wrong says where."""
        line = self.line() if line is None else line
        with section(self.section(operator, line)):
            try:
                return lower()
            except MaquetteError as error:
                faults = [located(f, operator, line) for f in error.faults]
                raise type(error)(*faults) from None
            except TypeError as error:
                if "lower" not in str(error) and "argument" not in str(error):
                    raise
                what = f"{operator}: arguments that are not covered: {error}"
                raise NotYet(Fault(line, what)) from error


def located(fault: Fault, operator: str, line: str) -> Fault:
    """A fault with the operator and the line it came from."""
    if fault.where:
        return fault
    return replace(fault, where=line, what=f"{operator}: {fault.what}")


def finished(
    trace: Trace, name: str, arguments: Sequence[str], results: Sequence[Positional], rebuild: Any
) -> Captured:
    """The graph of some results, with names that read well."""
    called = ["y"] if len(results) == 1 else [f"y{i}" for i in range(len(results))]
    taken = {*arguments, *trace.constants}
    called = [c if c not in taken else f"{c}_out" for c in called]
    outputs = {n: _shown(p) for n, p in zip(called, results, strict=True)}
    graph = Graph(name, settled(outputs))
    used = graph.inputs
    constants = {n: c for n, c in trace.constants.items() if n in used}
    sections = {v.section for v in graph.values}
    lines = {s: at for s, at in trace.lines.items() if s in sections}
    return Captured(graph, tuple(arguments), constants, tuple(called), rebuild, lines)


def _shown(p: Positional) -> Value:
    """A value with exactly the axes that the dimensions of a result are, in order."""
    p = solid(p)
    assert isinstance(p.source, Value)
    flat = tuple(a for d in p.dims for a in d)
    hidden = tuple(a for a in p.source.axes if a not in flat)
    p = replace(p, source=_ordered(p.source, (*hidden, *flat)))
    for at in range(p.rank):
        if len(p.dims[at]) != 1:
            p = _one(p, at)
    assert isinstance(p.source, Value)
    return _ordered(p.source, tuple(d[0] for d in p.dims))


def _one(p: Positional, at: int) -> Positional:
    """`p` with an axis for a dimension that is a product of axes, or of one."""
    if p.dims[at]:
        return single(p, at)
    assert isinstance(p.source, Value)
    named = {a.name for d in p.dims for a in d}
    hidden = next((a for a in p.source.axes if a.name not in named), None)
    if hidden is not None:
        return replace(p, dims=(*p.dims[:at], (hidden,), *p.dims[at + 1 :]))
    beside = next((d[0] for d in p.dims if len(d) == 1), None)
    if beside is None:
        return single(p, at)
    ax = fresh("u", 1)
    axes = tuple(b for a in p.source.axes for b in ((a, ax) if a == beside else (a,)))
    value = draft(
        View, axes=axes, dtype=p.dtype, kind="split", args=(p.source,),
        names=(beside.name, beside.name, ax.name), start=None,
    )  # fmt: skip
    return replace(p, dims=(*p.dims[:at], (ax,), *p.dims[at + 1 :]), source=value)


def _ordered(value: Value, axes: Dim) -> Value:
    """`value` over `axes` in this order: made so in the first place where that is possible."""
    if value.axes == axes:
        return value
    same = set(value.axes) == set(axes)
    if same and isinstance(value, Map):
        return draft(
            Map,
            axes=axes,
            dtype=value.dtype,
            args=value.args,
            body=value.body,
            section=value.section,
        )
    if same and isinstance(value, Reduce) and value.monoid.width == 1:
        return draft(
            Reduce, axes=axes, dtype=value.dtype, monoid=value.monoid, over=value.over,
            args=value.args, section=value.section,
        )  # fmt: skip
    held = {a.name for a in axes}
    at = tuple((a.name, Lit(0)) for a in value.axes if a.name not in held)
    return draft(Map, axes=axes, dtype=value.dtype, args=(value,), body=Arg(0, at))


def many(faults: Iterable[Fault]) -> None:
    """Raise all faults at once, if there are any."""
    found = tuple(dict.fromkeys(faults))
    if found:
        raise NotYet(*found)
