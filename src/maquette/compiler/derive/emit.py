"""Values for terms: the program's own where it has one, Maps and Views elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from maquette.compiler.derive.fold import RESIDUE
from maquette.compiler.derive.terms import Term
from maquette.ir.axes import Axis
from maquette.ir.dtypes import DType, dtype
from maquette.ir.patterns import Map, Value, View, make
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar

Held = Callable[[Term], "Value | None"]  # a value that is a term, at its own point


class Body:
    """A scalar body under construction, and the values it reads."""

    def __init__(self, held: Held, frame: Mapping[str, Axis]) -> None:
        self._held = held
        self._frame = frame
        self.args: list[Value] = []
        self.axes: set[str] = set()  # of the values read at the point itself

    def scalar(self, term: Term) -> Scalar:
        """The body that is `term`."""
        value = self._held(term)
        if value is not None:
            self.axes.update(a.name for a in value.axes)
            return Arg(self._number(value))
        match term.op:
            case "lit":
                return Lit(term.payload)
            case "extent":
                return Extent(term.payload)
            case "index":
                return Index(term.payload)
            case "read":
                return self._read(term)
            case op if op == RESIDUE:
                inner = self.scalar(term.args[0])
                return Apply("sub", (inner, inner))
        return Apply(term.op, tuple(self.scalar(a) for a in term.args))

    def _number(self, value: Value) -> int:
        if value not in self.args:
            self.args.append(value)
        return self.args.index(value)

    def _read(self, term: Term) -> Scalar:
        value: Value = term.payload
        moved = [
            (a.name, place)
            for a, place in zip(value.axes, term.args, strict=True)
            if not (place.op == "index" and place.payload == a.name and self._is(a))
        ]
        names = [p.payload for p in term.args if p.op == "index"]
        if moved and len(set(names)) == len(value.axes) and self._spans(value, names):
            return Arg(self._number(_renamed(value, names)))
        at = tuple((name, self.scalar(place)) for name, place in moved)
        return Arg(self._number(value), at)

    def _is(self, ax: Axis) -> bool:
        """Whether an axis is that of the frame, not one of its name and another size."""
        here = self._frame.get(ax.name)
        return here is None or here == ax or here.within == ax.size

    def _spans(self, value: Value, names: Sequence[str]) -> bool:
        """Whether the value, its axes renamed, lies on the axes of the frame."""
        return all(
            n in self._frame and self._frame[n].size == a.size
            for n, a in zip(names, value.axes, strict=True)
        )


def _renamed(value: Value, names: Sequence[str]) -> Value:
    pairs = [(a.name, n) for a, n in zip(value.axes, names, strict=True) if a.name != n]
    axes = tuple(Axis(n, a.size, a.within) for a, n in zip(value.axes, names, strict=True))
    return make(
        View, axes=axes, dtype=value.dtype, section=value.section, kind="rename", args=(value,),
        names=tuple(f"{old}:{new}" for old, new in pairs), start=None,
    )  # fmt: skip


def valued(term: Term, held: Held, axes: Sequence[Axis], format: DType, section: str) -> Value:
    """A value that is `term`, on those of `axes` along which it varies.

    The values it reads may vary along more than the term says, as components of a fold do.
    """
    found = held(term)
    if found is not None and found.dtype == format:
        return found
    frame = {a.name: a for a in axes}
    body = Body(held, frame)
    scalar = body.scalar(term)
    if isinstance(scalar, Arg) and not scalar.at:
        (alone,) = body.args
        if alone.dtype == format:
            return alone
        if f"to_{format}" in ("to_f32", "to_bf16", "to_f16"):
            scalar = Apply(f"to_{format}", (scalar,))
    names = term.free | body.axes
    kept = tuple(a for a in axes if a.name in names)
    return make(
        Map, axes=kept, dtype=dtype(format), section=section, args=tuple(body.args), body=scalar
    )
