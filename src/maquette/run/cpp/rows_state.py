"""What is known while a nest is written: loops that are open, values in registers, tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import prod

from maquette.compiler.kernel import Result, Stage, Tensor
from maquette.compiler.tile.homes import Home, Path, Plan, common
from maquette.compiler.tile.nest import pointwise
from maquette.ir.dtypes import Kind
from maquette.ir.scalar import Arg, Index, Scalar
from maquette.run.cpp.vector import ctype
from maquette.run.cpp.vector_bodies import Point, evaluate
from maquette.run.cpp.vector_code import Val, Writer
from maquette.run.cpp.vector_index import Affine, lane
from maquette.run.cpp.vector_memory import Place, load, store

TILED: Mapping[Kind, str] = {"float": "float", "int": "int", "bool": "unsigned char"}
BYTES: Mapping[str, int] = {"float": 4, "int": 4, "unsigned char": 1}


@dataclass(frozen=True)
class Coordinate:
    """One instance of a loop's body along its axis; `active` lanes of it, None for all."""

    at: Affine
    active: int | None = None


Instance = Mapping[str, int]  # axis → which of the coordinates it is bound to


class State:
    """A kernel while it is written."""

    def __init__(self, plan: Plan, lanes: int) -> None:
        self.plan = plan
        self.w = Writer(lanes)
        self.bound: dict[str, tuple[Coordinate, ...]] = {}
        self.values: dict[tuple[object, ...], Val] = {}
        self.path: Path = ()  # loops that are open
        self.levels = [0]  # of the scope inside them, by how many
        self.tensors = {t.name: t for t in (*plan.kernel.inputs, *plan.kernel.outputs)}
        self.pointers: dict[str, str] = {}
        self.how: Mapping[str, str] = {}  # outputs are stored, where that matters

    @contextmanager
    def loops(
        self,
        opening: Sequence[str],
        bound: Mapping[str, tuple[Coordinate, ...]],
        path: Path | None = None,
    ) -> Iterator[None]:
        """A block inside which axes are bound and the loops `path` are open.

        Values defined in it are gone after it.
        """
        before = self.values, self.bound, self.levels, self.path
        self.w.open(*opening)
        self.values, self.bound = dict(self.values), {**self.bound, **bound}
        if path is not None:
            self.levels = self.levels + [self.w.level] * (len(path) - len(self.path))
            self.path = path
        yield
        self.w.close()
        self.values, self.bound, self.levels, self.path = before

    def instances(self, axes: Sequence[str]) -> Iterator[Instance]:
        """Every instance of a point along those of `axes` that are bound, row-major."""
        names = [a for a in axes if a in self.bound]
        for chosen in product(*(range(len(self.bound[n])) for n in names)):
            yield dict(zip(names, chosen, strict=True))

    def key(self, result: Result, at: Instance, *more: object) -> tuple[object, ...]:
        """What a result in registers is known by."""
        return (result.name, *more, *((a, at[a]) for a in result.axes if a in at))

    def coordinate(self, axis: str, at: Instance) -> Coordinate:
        return self.bound[axis][at[axis]]

    def active(self, at: Instance) -> int | None:
        """How many lanes of an instance matter; None for all."""
        return (
            self.bound[self.plan.lanes][at[self.plan.lanes]].active
            if self.plan.lanes in at
            else None
        )

    # expressions

    def value(self, stage: Stage, body: Scalar, at: Instance) -> Val:
        """A body of a stage at an instance."""
        point = Point(
            lambda arg: self.read(stage, arg, at), lambda axis: self.coordinate(axis, at).at
        )
        return evaluate(self.w, body, point)

    def read(self, stage: Stage, arg: Arg, at: Instance) -> Val:
        """An operand of a stage at an instance."""
        name, placed = stage.reads[arg.number], dict(arg.at)

        def where(axis: str) -> Affine:
            found = self.value(stage, placed.get(axis, Index(axis)), at)
            affine = self.w.integers(found).affine
            assert affine is not None
            return affine

        home = self.plan.homes.get(name)
        if home is None:
            tensor = self.tensors[name]
            return load(
                self.w, self.tensor(tensor), [where(a) for a in tensor.axes], self.active(at)
            )
        held = self.values.get(self.key(home.result, at))
        if held is not None and all(pointwise(arg, a) for a in home.rest):
            return held
        place, coordinates = self.tile(home, at, {a: where(a) for a in home.rest})
        complete = self.levels[len(common(home.made, self.path))]
        return load(self.w, place, coordinates, self.active(at), complete)

    # memory

    def tensor(self, tensor: Tensor) -> Place:
        """Where a tensor of the kernel is."""
        text = self.pointers[tensor.name]
        return Place(
            text,
            ctype(tensor.dtype),
            tensor.dtype.kind,
            tensor.strides,
            tensor.shape,
            tensor.offset,
        )

    def tile(
        self, home: Home, at: Instance, where: Mapping[str, Affine], stem: str = "t"
    ) -> tuple[Place, list[Affine]]:
        """A tile, and the coordinates of an element: `where` along the axes of the tile."""
        strides = self.strides(home)
        order = [a for a in home.rest if a in strides]
        coordinates = [where[a] for a in order]
        shape = [self.plan.kernel.extents[a] for a in order]
        steps = [strides[a] for a in order]
        if self.spread(home):
            coordinates.append(lane(self.active(at) or self.w.lanes))
            shape.append(self.w.lanes)
            steps.append(1)
        kind = home.result.dtype.kind
        name = self.tile_name(home, at, stem)
        return Place(name, TILED[kind], kind, tuple(steps), tuple(shape), 0), coordinates

    def tile_name(self, home: Home, at: Instance, stem: str = "t") -> str:
        """A tile of its own for every instance of the loops that it lies in."""
        which = [
            str(at[a])
            for a in home.result.axes
            if a not in home.rest and a in at and len(self.bound[a]) > 1
        ]
        return "_".join([stem + identifier(home.result.name), *which])

    def spread(self, home: Home) -> bool:
        """Whether the lanes of one element are kept side by side: the loop over them is outside."""
        lanes = self.plan.lanes
        return lanes in home.result.axes and lanes not in home.rest and lanes in _axes(home)

    def strides(self, home: Home) -> dict[str, int]:
        """Elements from one coordinate to the next; lanes last, in whole vectors."""
        lanes, width = self.plan.lanes, self.w.lanes
        order = [a for a in home.rest if a != lanes] + [a for a in home.rest if a == lanes]
        step, found = width if self.spread(home) else 1, {}
        for axis in reversed(order):
            found[axis] = step
            extent = self.plan.kernel.extents[axis]
            step *= -(-extent // width) * width if axis == lanes else extent
        return found

    def size(self, home: Home) -> int:
        """Elements of a tile, in whole vectors."""
        width = self.w.lanes
        count = prod(self.plan.kernel.extents[a] for a in home.rest if a != self.plan.lanes)
        if self.plan.lanes in home.rest:
            count *= -(-self.plan.kernel.extents[self.plan.lanes] // width) * width
        return max(count * (width if self.spread(home) else 1), 1)

    def keep(self, home: Home, at: Instance, value: Val, stem: str = "t") -> None:
        """Put a result where its readers look for it."""
        value = self.w.cast(value, home.result.dtype.kind)
        if stem == "t":
            self.values[self.key(home.result, at)] = value
        if not home.kept:
            return
        where = {a: self.coordinate(a, at).at for a in home.rest}
        place, coordinates = self.tile(home, at, where, stem)
        store(self.w, place, coordinates, value, None)


def _axes(home: Home) -> frozenset[str]:
    return frozenset(loop.axis for loop in home.path)


def identifier(name: str) -> str:
    """A name as part of a C identifier.

    >>> identifier("h.1'")
    'h_1_'
    """
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
