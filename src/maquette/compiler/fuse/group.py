"""A group: pieces that run as one kernel, each of their loops over the axes of the group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maquette.compiler.fuse.index import axes_of, moved
from maquette.compiler.fuse.pieces import Piece
from maquette.compiler.fuse.shape import is_fold, is_product, is_weighted
from maquette.ir.patterns import Value
from maquette.ir.scalar import Scalar


@dataclass
class Placed:
    """A piece in a group: each of its loops as a coordinate over the group's axes."""

    piece: Piece
    at: dict[str, Scalar]

    def results(self, component: int = 0) -> tuple[str, ...]:
        """The group axes along which a component varies."""
        found = (a for n in self.piece.components[component] for a in axes_of(self.at[n]))
        return tuple(dict.fromkeys(found))

    @property
    def over(self) -> tuple[str, ...]:
        """The group axes that the piece combines over, row-major."""
        return tuple(a for n in self.piece.over for a in axes_of(self.at[n]))

    def place(self, axis: str) -> Scalar:
        """Where a point of the group lies along an axis of the value."""
        return moved(self.piece.place[axis], self.at)


@dataclass(eq=False)
class Group:
    """Pieces that run as one; `axes` are the extents of all the axes they name."""

    number: int
    placed: list[Placed] = field(default_factory=list)
    axes: dict[str, int] = field(default_factory=dict)
    before: set[int] = field(default_factory=set)  # the groups that must have run
    products: bool = False
    weighted: bool = False
    folds: bool = False

    @property
    def parallel(self) -> tuple[str, ...]:
        """The axes along which every stage is independent."""
        common: dict[str, None] | None = None
        for p in self.placed:
            along = p.over if p.piece.scanned else ()
            for c in range(len(p.piece.components)):
                held = [a for a in p.results(c) if a not in along]
                common = dict.fromkeys(a for a in (held if common is None else common) if a in held)
        return tuple(common or ())

    def member(self, value: Value) -> Placed | None:
        """The only piece that makes a value here."""
        found = [p for p in self.placed if p.piece.value is value and not p.piece.opaque]
        return found[0] if len(found) == 1 else None

    def add(self, piece: Piece, at: Mapping[str, Scalar], axes: Mapping[str, int]) -> None:
        """Take a piece in."""
        self.placed.append(Placed(piece, dict(at)))
        self.axes |= axes
        product = is_product(piece)
        self.products |= product
        self.weighted |= product and is_weighted(piece)
        self.folds |= is_fold(piece)
