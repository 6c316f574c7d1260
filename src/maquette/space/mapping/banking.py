"""Banks of a memory unit: where an element lies, so that lanes that run together do not meet.

An access is affine: lane by lane it asks for elements at fixed offsets of each other, at any base.
A banking ``bank(x) = ⌊α·x / block⌋ mod banks`` serves it in one cycle when no two lanes are ever
in one bank.  Offsets are constant, and so the question of an empty polytope (Spatial, PLDI 2018,
§4) is answered by looking at every pair of lanes.  A row and a column at once need the diagonal
stripe ``(i + j) mod banks`` (SN40L, MICRO 2024, §IV-B), which the search finds by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from typing import TypeAlias

from maquette.compiler.kernel import Stage, Tensor
from maquette.machines.types import Fabric
from maquette.plans.types import Infeasible

Point: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Access:
    """Elements asked for in one cycle, as offsets from a base that may be anywhere.

    >>> Access.row(3, 2).lanes
    ((0, 0), (0, 1), (0, 2))
    """

    lanes: tuple[Point, ...]
    random: bool = False  # places that nobody knows before

    @classmethod
    def row(cls, lanes: int, dimensions: int, stride: int = 1) -> Access:
        """Along the last dimension."""
        return cls(tuple((*(0,) * (dimensions - 1), i * stride) for i in range(lanes)))

    @classmethod
    def column(cls, lanes: int, dimensions: int, stride: int = 1) -> Access:
        """Along the first dimension."""
        return cls(tuple((i * stride, *(0,) * (dimensions - 1)) for i in range(lanes)))


@dataclass(frozen=True)
class Banking:
    """Which bank holds an element, and how often the whole array is stored."""

    banks: int
    weights: Point  # α: one per dimension
    block: int = 1
    copies: int = 1  # each serves one lane of reads at random places

    def bank(self, at: Sequence[int]) -> int:
        total = sum(w * x for w, x in zip(self.weights, at, strict=True))
        return total // self.block % self.banks


def conflicts(banking: Banking, access: Access, base: Sequence[int] = ()) -> int:
    """Cycles beyond the first that one access at `base` takes.

    >>> stripe = Banking(16, (1, 1))
    >>> conflicts(stripe, Access.row(16, 2)), conflicts(stripe, Access.column(16, 2))
    (0, 0)
    >>> conflicts(Banking(16, (0, 1)), Access.column(16, 2))
    15
    """
    start = base or (0,) * len(banking.weights)
    asked = ([b + x for b, x in zip(start, lane, strict=True)] for lane in access.lanes)
    return max(Counter(map(banking.bank, asked)).values()) - 1


def serves(banking: Banking, access: Access) -> bool:
    """Whether lanes never meet, wherever the access begins."""
    if access.random:
        return banking.copies >= len(access.lanes)
    period = banking.banks * banking.block
    for one, other in combinations(access.lanes, 2):
        apart = sum(w * (b - a) for w, a, b in zip(banking.weights, one, other, strict=True))
        residue = apart % period
        if residue < banking.block or period - residue < banking.block:
            return False
    return True


def banked(
    accesses: Sequence[Access], banks: int, blocks: Sequence[int] = (1, 2, 4)
) -> Banking | Infeasible:
    """A banking that serves every access at full rate with at most so many banks.

    Fewer banks come first, then smaller blocks, then smaller weights.  Reads at random places have
    a copy of the array per lane; writes at random places are for the caller to make one by one.

    >>> banked([Access.row(4, 2), Access.column(4, 2)], 16)
    Banking(banks=4, weights=(1, 1), block=1, copies=1)
    """
    known = [a for a in accesses if not a.random]
    copies = max((len(a.lanes) for a in accesses if a.random), default=1)
    if not known:
        dimensions = len(accesses[0].lanes[0]) if accesses else 1
        return Banking(1, (1,) * dimensions, 1, copies)
    least = max(len(a.lanes) for a in known)
    for tried in _candidates(least, banks, blocks, len(known[0].lanes[0])):
        if all(serves(tried, a) for a in known):
            return Banking(tried.banks, tried.weights, tried.block, copies)
    if least > banks:
        return Infeasible("more lanes than banks", least - banks, "banks")
    return Infeasible(f"no banking of {banks} banks keeps every lane apart")


def turns(across: bool, fabric: Fabric) -> int:
    """Cycles that a memory unit takes to serve one vector that lanes ask for at once.

    Written along one axis and read along another, banks must keep both apart.

    >>> from maquette.catalogue.machines import machine
    >>> turns(True, machine("sn40l").fabric)
    1
    """
    return _turns(across, fabric.lanes.value, fabric.banks.value)


@cache
def _turns(across: bool, lanes: int, banks: int) -> int:
    asked = [Access.row(lanes, 2), Access.column(lanes, 2)] if across else [Access.row(lanes, 2)]
    if isinstance(banked(asked, banks, blocks=(1,)), Banking):
        return 1
    return -(-lanes // banks)


def read_lanes(
    pattern: Stage, path: str, lane: str, axes: Sequence[str], tensors: Mapping[str, Tensor]
) -> str:
    """The axis along which the lanes that read a tensor of these axes lie.

    An array takes one point of the summed axis a cycle, and so a vector along the axis that only
    this operand has.  Else lanes lie as they do in the result, along `lane`, or where they are
    summed along the last axis of the operand.
    """
    own = [a for a in axes if a not in pattern.over and a in pattern.results[-1].axes]
    if path == "matrix":
        others = [set(tensors[n].axes) for n in pattern.reads if tuple(tensors[n].axes) != axes]
        alone = [a for a in own if not any(a in o for o in others)]
        own = alone or own
        return own[-1] if own else lane
    if not pattern.over and lane in axes:
        return lane
    return axes[-1] if axes else ""


def _candidates(
    least: int, banks: int, blocks: Sequence[int], dimensions: int
) -> Iterator[Banking]:
    for n in range(least, banks + 1):
        for block in blocks:
            found = product(range(n * block), repeat=dimensions)
            for weights in sorted(found, key=lambda w: (sum(w), w[::-1])):
                yield Banking(n, weights, block)
