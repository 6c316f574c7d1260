"""Named axes: the only coordinates in the language."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from maquette.errors import Fault, ProgramError
from maquette.ir.sizes import Size, SizeLike, product, size


@dataclass(frozen=True)
class Axis:
    """A name and a size.

    `within` names the full size where the axis ranges over a data-dependent subset, such as the
    experts that received a token: the extent is ``size``, the space it is drawn from is ``within``.
    """

    name: str
    size: Size
    within: Size | None = None

    def __str__(self) -> str:
        subset = f" of {self.within}" if self.within is not None else ""
        return f"{self.name}={self.size}{subset}"


def axis(name: str, extent: SizeLike, within: SizeLike | None = None) -> Axis:
    """Make an axis.

    >>> str(axis("t", "t"))
    't=t'
    """
    return Axis(name, size(extent), None if within is None else size(within))


def full(ax: Axis) -> Size:
    """The size of the space an axis is drawn from."""
    return ax.size if ax.within is None else ax.within


def merged(name: str, parts: Iterable[Axis]) -> Axis:
    """The product of axes as one, a subset if any of them is."""
    parts = tuple(parts)
    return _of(name, points(parts), product(map(full, parts)))


def joined(name: str, parts: Iterable[Axis]) -> Axis:
    """Axes end to end as one, a subset if any of them is."""
    parts = tuple(parts)
    zero = size(0)
    return _of(name, sum((a.size for a in parts), zero), sum(map(full, parts), zero))


def _of(name: str, extent: Size, within: Size) -> Axis:
    return Axis(name, extent, None if extent == within else within)


def union(*groups: Iterable[Axis]) -> tuple[Axis, ...]:
    """All axes in order of first appearance; the same name must have the same size.

    An axis that ranges over a subset of another of its name wins: reading a whole table at the
    rows in use is legal, and the domain is the rows in use.
    """
    found: dict[str, Axis] = {}
    for ax in (a for group in groups for a in group):
        held = found.get(ax.name)
        if held is None or held == ax or ax.within == held.size:
            found[ax.name] = ax
        elif held.within != ax.size:
            what = f"axis {ax.name!r} has size {held.size} and size {ax.size}"
            raise ProgramError(Fault("", what, "one size per name", "rename one of the two"))
    return tuple(found.values())


def points(axes: Iterable[Axis]) -> Size:
    """How many points a domain has.

    >>> str(points([axis("b", "b"), axis("d", 128)]))
    '128*b'
    """
    return product(a.size for a in axes)
