"""What each pattern means, on NumPy arrays whose axes are in the order of ``value.axes``.

A tensor is zero outside its axes: a read at -1 or past the end gives zero (False).  An axis that
ranges over a subset is evaluated at the full size it is drawn from; what is not in the subset has
members -1, whose reads are zero, and is read back by nobody.  Floats are computed in one format,
integers in 64 bits; narrower formats are not rounded to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, ProgramError
from maquette.ir.axes import Axis, full
from maquette.ir.dtypes import DType, dtype
from maquette.ir.facts import Contraction
from maquette.ir.monoids import ADD, AND, MAX, MIN, MUL, OR, Monoid
from maquette.ir.patterns import FlatMap, GroupBy, Map, Reduce, Scan, View
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar
from maquette.ir.sizes import Size

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = tuple[Array, ...]


def _erf(x: Any) -> Any:
    from scipy.special import erf  # slow to import, rarely needed

    return erf(x)


def _sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0, -x))


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide,
    "max": np.maximum, "min": np.minimum, "pow": np.float_power,
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x), "recip": lambda x: np.true_divide(1, x),
    "exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "erf": _erf,
    "sigmoid": _sigmoid, "softplus": lambda x: np.logaddexp(0, x),
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "eq": np.equal, "ne": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "where": np.where,
    "floordiv": np.floor_divide, "mod": np.mod,
}  # fmt: skip

FOLDS: tuple[tuple[Monoid, Any], ...] = (
    (ADD, np.add), (MUL, np.multiply), (MAX, np.maximum), (MIN, np.minimum),
    (AND, np.logical_and), (OR, np.logical_or),
)  # fmt: skip


@dataclass(frozen=True)
class Numbers:
    """The numbers behind symbols, and the format floats are computed in."""

    sizes: Mapping[str, int]
    floats: Any = np.float32

    def extent(self, ax: Axis) -> int:
        """The extent at which an axis is evaluated."""
        return self.whole(full(ax))

    def shape(self, axes: Sequence[Axis]) -> tuple[int, ...]:
        return tuple(self.extent(a) for a in axes)

    def value(self, amount: Size) -> Any:
        missing = sorted(amount.symbols - self.sizes.keys())
        if missing:
            what = f"no number for {', '.join(map(repr, missing))} in size {amount}"
            raise ProgramError(Fault("sizes", what, "a number for every symbol"))
        return amount(self.sizes)

    def whole(self, amount: Size) -> int:
        value = self.value(amount)
        if value < 0 or abs(value - round(value)) > 1e-9:
            raise ProgramError(Fault("sizes", f"{amount} is {value}", "a whole number, 0 or more"))
        return int(value + 0.5)

    def format(self, wanted: DType) -> Any:
        return {"float": self.floats, "int": np.int64, "bool": np.bool_}[wanted.kind]


def scalar(body: Scalar, numbers: Numbers, read: Callable[[Arg], Any], index: Any) -> Any:
    """A body with its operands and coordinates supplied by `read` and `index`."""
    match body:
        case Lit(value):
            return value
        case Extent(extent):
            return numbers.value(extent)
        case Index(axis):
            return index(axis)
        case Arg():
            return read(body)
        case Apply(op, args):
            values = [scalar(a, numbers, read, index) for a in args]
            if op.startswith("to_"):
                return np.asarray(values[0]).astype(numbers.format(dtype(op.removeprefix("to_"))))
            return OPERATIONS[op](*values)


def align(array: Array, axes: Sequence[str], domain: Sequence[str]) -> Array:
    """`array` with a place for every axis of the domain, of length 1 where it has none."""
    order = [axes.index(n) for n in domain if n in axes]
    held = iter(np.transpose(array, order).shape)
    shape = tuple(next(held) if n in axes else 1 for n in domain)
    return np.transpose(array, order).reshape(shape)


def map_(value: Map, operands: Sequence[Array], numbers: Numbers) -> Array:
    """The body at every point of the domain at once."""
    names = [a.name for a in value.axes]
    shape = numbers.shape(value.axes)

    def index(name: str) -> Array:
        place = names.index(name)
        along = np.arange(shape[place])
        return along.reshape([-1 if i == place else 1 for i in range(len(names))])

    def read(arg: Arg) -> Array:
        held = [a.name for a in value.args[arg.number].axes]
        array = operands[arg.number]
        if not arg.at:
            return align(array, held, names)
        at = {n: np.asarray(scalar(i, numbers, read, index)) for n, i in arg.at}
        return _gather(array, held, at, names)

    result = np.asarray(scalar(value.body, numbers, read, index))
    return np.broadcast_to(result, shape).astype(numbers.format(value.dtype), copy=False)


def _gather(array: Array, held: list[str], at: dict[str, Array], names: list[str]) -> Array:
    """`array` read at coordinates that vary over the domain `names`, zero where there is none."""
    rank = len(names)
    at = {n: i.reshape((1,) * (rank - i.ndim) + i.shape) for n, i in at.items()}
    varies = np.broadcast_shapes(*(i.shape for i in at.values()))
    swept = [n for n in held if n not in at and varies[names.index(n)] == 1]  # taken whole
    for n in held:
        if n not in at and n not in swept:
            place = names.index(n)
            at[n] = np.arange(varies[place]).reshape([-1 if i == place else 1 for i in range(rank)])
    picked = list(at)
    array = np.transpose(array, [held.index(n) for n in (*picked, *swept)])
    limits = dict(zip(picked, array.shape, strict=False))
    if 0 in array.shape[: len(picked)]:
        return np.zeros((1,) * rank, array.dtype)
    inside: Any = np.True_
    for n in picked:
        inside = inside & (at[n] >= 0) & (at[n] < limits[n])
    found = array[tuple(np.clip(at[n], 0, limits[n] - 1) for n in picked)]
    if not np.all(inside):
        shown = np.broadcast_to(inside, varies).reshape(varies + (1,) * len(swept))
        found = np.where(shown, found, np.zeros((), array.dtype))
    kept = [n for n in names if n not in swept]
    squeezed = found.squeeze(axis=tuple(names.index(n) for n in swept))
    order = [(*kept, *swept).index(n) for n in names]
    return np.transpose(squeezed, order)


def contract(value: Reduce, found: Contraction, left: Array, right: Array, n: Numbers) -> Array:
    """A contraction as one batched matrix product."""
    batch, rows, columns, over = (
        [a.name for a in group] for group in (found.batch, found.rows, found.columns, found.over)
    )
    size = {a.name: n.extent(a) for a in (*value.domain, *value.axes)}

    def flat(names: list[str]) -> int:
        return int(np.prod([size[m] for m in names], dtype=np.int64))

    a = align(left, [x.name for x in found.left.axes], [*batch, *rows, *over])
    b = align(right, [x.name for x in found.right.axes], [*batch, *over, *columns])
    product = np.matmul(
        a.reshape(flat(batch), flat(rows), flat(over)),
        b.reshape(flat(batch), flat(over), flat(columns)),
    )
    names = [*batch, *rows, *columns]
    shaped = product.reshape([size[m] for m in names])
    return align(shaped, names, [x.name for x in value.axes]).astype(n.format(value.dtype))


def reduce(value: Reduce, operands: Sequence[Array], numbers: Numbers) -> Arrays:
    """Fold over the merged axes ``over``, row-major in the order they are named."""
    sizes = {a.name: numbers.extent(a) for a in value.domain}
    names = [*(a.name for a in value.axes), *value.over]
    shape = [sizes[n] for n in names]
    outer = shape[: len(value.axes)]
    count = int(np.prod(shape[len(value.axes) :], dtype=np.int64))
    columns = tuple(
        np.broadcast_to(align(x, [a.name for a in v.axes], names), shape).reshape(*outer, count)
        for v, x in zip(value.args, operands, strict=True)
    )
    for monoid, ufunc in FOLDS:
        if value.monoid == monoid and count:
            return (ufunc.reduce(columns[0], axis=-1, dtype=columns[0].dtype),)
    while count > 1:  # neighbours first, so that order is kept; an odd one out waits
        pairs = count // 2 * 2
        left = tuple(c[..., 0:pairs:2] for c in columns)
        right = tuple(c[..., 1:pairs:2] for c in columns)
        joined = _combine(value.monoid, left, right, numbers)
        columns = tuple(
            np.concatenate([j, c[..., pairs:]], -1) for j, c in zip(joined, columns, strict=True)
        )
        count = columns[0].shape[-1]
    if not count:
        return tuple(_identity(value.monoid, i, c, outer) for i, c in enumerate(columns))
    return tuple(c[..., 0] for c in columns)


def _identity(monoid: Monoid, component: int, like: Array, shape: Sequence[int]) -> Array:
    limit: Any = monoid.identity[component].value
    if np.issubdtype(like.dtype, np.integer) and limit in (float("inf"), float("-inf")):
        info = np.iinfo(like.dtype)
        limit = info.max if limit > 0 else info.min
    return np.full(shape, limit, like.dtype)


def _combine(monoid: Monoid, left: Arrays, right: Arrays, numbers: Numbers) -> Arrays:
    both = (*left, *right)
    kinds = [c.dtype for c in left]
    results = (scalar(c, numbers, lambda a: both[a.number], None) for c in monoid.combine)
    shape = np.broadcast_shapes(*(b.shape for b in both))
    return tuple(
        np.broadcast_to(np.asarray(r, dtype=k), shape) for r, k in zip(results, kinds, strict=True)
    )


def scan(value: Scan, operands: Sequence[Array], numbers: Numbers) -> Arrays:
    """Inclusive prefixes, by doubling strides."""
    names = [a.name for a in value.axes]
    shape = numbers.shape(value.axes)
    place = names.index(value.along)
    columns = tuple(
        np.moveaxis(np.broadcast_to(align(x, [a.name for a in v.axes], names), shape), place, -1)
        for v, x in zip(value.args, operands, strict=True)
    )
    stride = 1
    while stride < shape[place]:
        left = tuple(c[..., :-stride] for c in columns)
        right = tuple(c[..., stride:] for c in columns)
        joined = _combine(value.monoid, left, right, numbers)
        columns = tuple(
            np.concatenate([c[..., :stride], j], -1) for j, c in zip(joined, columns, strict=True)
        )
        stride *= 2
    return tuple(np.moveaxis(c, -1, place) for c in columns)


def flat_map(value: FlatMap, key: Array, numbers: Numbers) -> Array:
    """The positions kept; -1 where fewer are kept than there is room for."""
    names = [a.name for a in value.key.axes]
    others = [n for n in names if n != value.along]
    keys = align(key, names, [*others, value.along])
    room = numbers.extent(value.out)
    if value.rule == "top":
        if room > keys.shape[-1]:
            what = f"top {room} of the {keys.shape[-1]} positions of axis {value.along!r}"
            raise ProgramError(Fault("top", what, "no more than there are"))
        # Backwards, not of -keys: not a number ranks first, and the least integer has no negative.
        backwards = np.argsort(keys[..., ::-1], axis=-1, kind="stable")
        found = keys.shape[-1] - 1 - backwards[..., ::-1][..., :room]
    else:
        counts = keys.sum(axis=-1, keepdims=True)
        if np.any(counts > room):
            what = f"{int(counts.max())} positions of {value.along!r} are kept, {room} fit"
            raise ProgramError(Fault("where", what, hint="give the axis a larger `within`"))
        found = np.argsort(~keys, axis=-1, kind="stable")[..., :room]
        found = np.where(np.arange(found.shape[-1]) < counts, found, -1)
    return align(found, [*others, value.out.name], [a.name for a in value.axes])


def group_by(value: GroupBy, key: Array, numbers: Numbers) -> Arrays:
    """Slots and members; members in row-major order; keys that name no group have slot -1."""
    groups, room = numbers.extent(value.group), numbers.extent(value.member)
    flat = key.ravel()
    valid = (flat >= 0) & (flat < groups)
    order = np.flatnonzero(valid)[np.argsort(flat[valid], kind="stable")]
    chosen = flat[order]
    first = np.searchsorted(chosen, np.arange(groups))
    slot = np.full(flat.shape, -1, np.int64)
    slot[order] = np.arange(len(order)) - first[chosen]
    if len(order) and slot.max() >= room:
        what = f"a group has {slot.max() + 1} members, axis {value.member} has room for {room}"
        raise ProgramError(Fault("group", what, hint="give the axis a larger `within`"))
    members = []
    for coordinate in np.unravel_index(order, key.shape):
        member = np.full((groups, room), -1, np.int64)
        member[chosen, slot[order]] = coordinate
        members.append(member)
    return (slot.reshape(key.shape), *members)


def view(value: View, operands: Sequence[Any], numbers: Numbers) -> Array:
    """The same elements under other names; NumPy copies only where it must."""
    names = [a.name for a in value.axes]
    if value.kind == "item":
        assert value.start is not None
        found: Array = operands[0][numbers.whole(value.start)]
        return found
    if value.kind == "concat":
        parts = [
            align(x, [a.name for a in v.axes], names)
            for v, x in zip(value.args, operands, strict=True)
        ]
        return np.concatenate(parts, axis=names.index(value.names[0]))
    array, held = operands[0], [a.name for a in value.args[0].axes]
    if value.kind == "rename":
        new = {old: new for old, _, new in (n.partition(":") for n in value.names)}
        return align(array, [new.get(n, n) for n in held], names)
    if value.kind == "slice":
        return _slice(value, array, held.index(value.names[0]), numbers)
    if value.kind == "merge":
        merged = list(value.names[:-1])
        order = [m for n in held if n == merged[0] or n not in merged
                 for m in (merged if n == merged[0] else [n])]  # fmt: skip
        array = align(array, held, order)
    return np.reshape(array, numbers.shape(value.axes))


def _slice(value: View, array: Array, place: int, numbers: Numbers) -> Array:
    assert value.start is not None
    start, length = numbers.whole(value.start), numbers.extent(value.axes[place])
    if start + length > array.shape[place]:
        what = f"[{start}, {start + length}) of axis {value.names[0]!r}, which has "
        raise ProgramError(Fault("slice", what + f"{array.shape[place]}", "a range inside it"))
    cut = [slice(None)] * array.ndim
    cut[place] = slice(start, start + length)
    return array[tuple(cut)]
