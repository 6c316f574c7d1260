"""Writing programs by hand: values with operators.

    >>> from maquette.ir.build import activation, dot, weight
    >>> x = activation("x", n="n", d=512)
    >>> w = weight("w", d=512, f=2048)
    >>> y = dot(x, w, "d")
    >>> [str(a) for a in y.axes]
    ['n=n', 'f=2048']

Axes meet by name, so ``x * w`` lives on the union of their axes and ``dot`` contracts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from maquette.errors import Fault, ProgramError
from maquette.ir.axes import Axis, axis, joined, merged, points, union
from maquette.ir.dtypes import DType, dtype
from maquette.ir.facts import generated
from maquette.ir.monoids import ADD, AFFINE, MAX, Monoid
from maquette.ir.patterns import (
    FlatMap,
    GroupBy,
    Input,
    Map,
    Reduce,
    Role,
    Scan,
    Value,
    View,
    ViewKind,
    make,
)
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar
from maquette.ir.scalar import kind as scalar_kind
from maquette.ir.sizes import Size, SizeLike, size


@dataclass(frozen=True)
class Tensor:
    """A handle on a value that carries the operators."""

    value: Value

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.value.axes

    def __add__(self, other: TensorLike) -> Tensor:
        return apply("add", self, other)

    def __radd__(self, other: TensorLike) -> Tensor:
        return apply("add", other, self)

    def __sub__(self, other: TensorLike) -> Tensor:
        return apply("sub", self, other)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return apply("sub", other, self)

    def __mul__(self, other: TensorLike) -> Tensor:
        return apply("mul", self, other)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return apply("mul", other, self)

    def __truediv__(self, other: TensorLike) -> Tensor:
        return apply("div", self, other)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return apply("div", other, self)

    def __floordiv__(self, other: TensorLike) -> Tensor:
        return apply("floordiv", self, other)

    def __mod__(self, other: TensorLike) -> Tensor:
        return apply("mod", self, other)

    def __neg__(self) -> Tensor:
        return apply("neg", self)

    def __lt__(self, other: TensorLike) -> Tensor:
        return apply("lt", self, other)

    def __le__(self, other: TensorLike) -> Tensor:
        return apply("le", self, other)

    def __gt__(self, other: TensorLike) -> Tensor:
        return apply("gt", self, other)

    def __ge__(self, other: TensorLike) -> Tensor:
        return apply("ge", self, other)

    def __and__(self, other: TensorLike) -> Tensor:
        return apply("and", self, other)

    def sum(self, *over: str) -> Tensor:
        return reduce(ADD, over, self)[0]

    def max(self, *over: str) -> Tensor:
        return reduce(MAX, over, self)[0]

    def mean(self, *over: str) -> Tensor:
        count = points(self.value.axis(name) for name in over)
        return self.sum(*over) / count

    def rename(self, **names: str) -> Tensor:
        axes = tuple(Axis(names.get(a.name, a.name), a.size, a.within) for a in self.axes)
        return _view("rename", (self,), axes, tuple(f"{o}:{n}" for o, n in names.items()))

    def split(self, name: str, **into: SizeLike) -> Tensor:
        held = self._whole(name, "split")
        parts = tuple(axis(n, s) for n, s in into.items())
        if points(parts) != held.size:
            what = f"split of {held} into {', '.join(map(str, parts))} changes its size"
            raise ProgramError(Fault("", what, "parts whose product is the size"))
        axes = tuple(p for a in self.axes for p in (parts if a.name == name else (a,)))
        return _view("split", (self,), axes, (name, *into))

    def merge(self, *names: str, into: str) -> Tensor:
        whole = merged(into, (self.value.axis(n) for n in names))
        axes = tuple(
            whole if a.name == names[0] else a
            for a in self.axes
            if a.name == names[0] or a.name not in names
        )
        return _view("merge", (self,), axes, (*names, into))

    def slice(self, name: str, start: SizeLike, length: SizeLike) -> Tensor:
        self._whole(name, "slice")
        axes = tuple(axis(name, length) if a.name == name else a for a in self.axes)
        return _view("slice", (self,), axes, (name,), size(start))

    def _whole(self, name: str, purpose: str) -> Axis:
        held = self.value.axis(name)
        if held.within is not None:
            what = f"{purpose} of axis {held}, which is a subset"
            raise ProgramError(Fault("", what, "an axis that is all there is"))
        return held

    def last(self, name: str) -> Tensor:
        """The last position of an axis, which goes away."""
        end = size(self.value.axis(name).size) - 1
        return self.at(**{name: Extent(end)})

    def at(self, **where: Tensor | Scalar | int) -> Tensor:
        """This tensor read at computed coordinates of some axes: a gather.

        A coordinate may use `Index` of an axis the tensor has only if that axis is also among the
        result's axes, that is, if some coordinate or remaining axis carries it.
        """
        args: list[Value] = [self.value]
        index: list[tuple[str, Scalar]] = []
        for name, position in where.items():
            if isinstance(position, Tensor):
                args.append(position.value)
                index.append((name, Arg(len(args) - 1)))
            else:
                index.append((name, Lit(position) if isinstance(position, int) else position))
        kept = tuple(a for a in self.axes if a.name not in where)
        axes = union(kept, *(a.axes for a in args[1:]))
        body = Arg(0, tuple(index))
        return Tensor(make(Map, axes=axes, dtype=self.value.dtype, args=tuple(args), body=body))

    def to(self, name: str) -> Tensor:
        """The same numbers in another format."""
        cast = Apply(f"to_{name}", (Arg(0),))
        v = self.value
        return Tensor(make(Map, axes=v.axes, dtype=name, args=(v,), body=cast))


TensorLike: TypeAlias = Tensor | Size | float | int | bool


def tensor(name: str, role: Role, format: str | DType = "bf16", /, **axes: SizeLike) -> Tensor:
    """An input with named axes."""
    domain = tuple(axis(n, s) for n, s in axes.items())
    return Tensor(make(Input, axes=domain, dtype=format, name=name, role=role))


def weight(name: str, /, **axes: SizeLike) -> Tensor:
    return tensor(name, "weight", **axes)


def state(name: str, /, **axes: SizeLike) -> Tensor:
    return tensor(name, "state", **axes)


def activation(name: str, /, **axes: SizeLike) -> Tensor:
    return tensor(name, "activation", **axes)


def indices(name: str, /, **axes: SizeLike) -> Tensor:
    return tensor(name, "index", "i32", **axes)


def iota(name: str, extent: SizeLike) -> Tensor:
    """The coordinates 0, 1, … along an axis."""
    ax = axis(name, extent)
    return Tensor(make(Map, axes=(ax,), dtype="i32", args=(), body=Index(name)))


def apply(op: str, *args: TensorLike) -> Tensor:
    """A scalar operation at every point of the union of the arguments' axes."""
    values: list[Value] = []
    scalars: list[Scalar] = []
    for a in args:
        if isinstance(a, Tensor):
            if a.value not in values:
                values.append(a.value)
            scalars.append(Arg(values.index(a.value)))
        elif isinstance(a, Size):
            scalars.append(Extent(a))
        else:
            scalars.append(Lit(a))
    axes = union(*(v.axes for v in values))
    body = Apply(op, tuple(scalars))
    kind = _result_type(body, values)
    return Tensor(make(Map, axes=axes, dtype=kind, args=tuple(values), body=body))


def where(test: Tensor, yes: TensorLike, no: TensorLike) -> Tensor:
    return apply("where", test, yes, no)


def clip(x: Tensor, low: float, high: float) -> Tensor:
    return apply("max", apply("min", x, high), low)


def exp(x: Tensor) -> Tensor:
    return apply("exp", x)


def sin(x: Tensor) -> Tensor:
    return apply("sin", x)


def cos(x: Tensor) -> Tensor:
    return apply("cos", x)


def tanh(x: Tensor) -> Tensor:
    return apply("tanh", x)


def rsqrt(x: Tensor) -> Tensor:
    return apply("rsqrt", x)


def sigmoid(x: Tensor) -> Tensor:
    return apply("sigmoid", x)


def softplus(x: Tensor) -> Tensor:
    return apply("softplus", x)


def silu(x: Tensor) -> Tensor:
    return x * sigmoid(x)


def softmax(x: Tensor, over: str) -> Tensor:
    """Exponentials scaled to sum to one along an axis, safe for large values."""
    e = exp(x - x.max(over))
    return e / e.sum(over)


def dot(left: Tensor, right: Tensor, *over: str) -> Tensor:
    """The contraction of two tensors over named axes: ``(left * right).sum(*over)``."""
    return (left * right).sum(*over)


def reduce(monoid: Monoid, over: tuple[str, ...], *args: Tensor) -> tuple[Tensor, ...]:
    """Combine over axes; one result per component of the monoid."""
    values = tuple(a.value for a in args)
    domain = union(*(v.axes for v in values))
    known = {a.name for a in domain}
    for name in over:
        if name not in known:
            what = f"cannot reduce over {name!r}"
            raise ProgramError(Fault("", what, f"one of {', '.join(sorted(known))}"))
    axes = tuple(a for a in domain if a.name not in over)
    kind = values[0].dtype
    node = make(Reduce, axes=axes, dtype=kind, monoid=monoid, over=tuple(over), args=values)
    return _items(node, [(node.component(i), v.dtype) for i, v in enumerate(values)])


def scan(monoid: Monoid, along: str, *args: Tensor) -> tuple[Tensor, ...]:
    """Inclusive prefix combine; one result per component of the monoid."""
    values = tuple(a.value for a in args)
    axes = union(*(v.axes for v in values))
    kind = values[0].dtype
    node = make(Scan, axes=axes, dtype=kind, monoid=monoid, along=along, args=values)
    return _items(node, [(axes, v.dtype) for v in values])


def recurrence(decay: Tensor, drive: Tensor, along: str) -> tuple[Tensor, Tensor]:
    """``h[i] = decay[i]·h[i-1] + drive[i]`` as (cumulative decay, h from zero)."""
    total, driven = scan(AFFINE, along, decay, drive)
    return total, driven


def top(key: Tensor, along: str, out: str, count: SizeLike) -> Tensor:
    """Positions of the `count` largest along an axis."""
    axes = (*(a for a in key.axes if a.name != along), axis(out, count))
    parts = {"rule": "top", "along": along, "out": axes[-1], "key": key.value}
    return Tensor(make(FlatMap, axes=axes, dtype="i32", **parts))


def group_by(key: Tensor, group: Axis, member: Axis) -> tuple[Tensor, ...]:
    """Slot of each point, then the members' coordinates; see `patterns.GroupBy`."""
    node = make(GroupBy, axes=key.axes, dtype="i32", key=key.value, group=group, member=member)
    inside = (group, member)
    kinds = [(key.axes, dtype("i32"))] + [(inside, dtype("i32"))] * len(key.axes)
    return _items(node, kinds)


def concat(along: str, *parts: Tensor) -> Tensor:
    """Tensors end to end along an axis, as one view."""
    whole = joined(along, (p.value.axis(along) for p in parts))
    axes = tuple(whole if a.name == along else a for a in parts[0].axes)
    return _view("concat", parts, axes, (along,))


def _items(node: Value, kinds: list[tuple[tuple[Axis, ...], DType]]) -> tuple[Tensor, ...]:
    if len(kinds) == 1:
        return (Tensor(node),)
    return tuple(
        Tensor(
            make(View, axes=axes, dtype=kind, kind="item", args=(node,), names=(), start=size(i))
        )
        for i, (axes, kind) in enumerate(kinds)
    )


def _view(
    kind: ViewKind,
    args: tuple[Tensor, ...],
    axes: tuple[Axis, ...],
    names: tuple[str, ...],
    start: Size | None = None,
) -> Tensor:
    values = tuple(a.value for a in args)
    first = values[0].dtype
    node = make(View, axes=axes, dtype=first, kind=kind, args=values, names=names, start=start)
    return Tensor(node)


def _result_type(body: Apply, values: list[Value]) -> DType:
    """The widest format among the operands; what is made of coordinates alone takes any format."""
    found = scalar_kind(body, [v.dtype.kind for v in values])
    if body.op.startswith("to_"):
        return dtype(body.op.removeprefix("to_"))
    if found == "bool":
        return dtype("bool")
    default = dtype("f32" if found == "float" else "i32")
    like = [v for v in values if v.dtype.kind == found]
    held = [v for v in like if not generated(v)] or like
    return max((v.dtype for v in held), key=_bits, default=default)


def _bits(format: DType) -> float:
    return format.bits
