"""How long the nets of a placement are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.space.netlist import Netlist

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Wires:
    """A netlist as arrays: the pins of net i are ``pins[starts[i]:starts[i + 1]]``, unit numbers.

    A net's weight is its activity: a stream that seldom carries a word may take the long way.
    """

    starts: Ints
    pins: Ints
    weights: Floats
    of_unit: tuple[tuple[int, ...], ...]  # the nets of every unit

    @property
    def nets(self) -> int:
        return len(self.weights)


FLOOR = 0.01  # of activity: silent nets are still to be short


def wires(netlist: Netlist) -> Wires:
    """The nets of a netlist that join different units."""
    number = {unit.name: i for i, unit in enumerate(netlist.units)}
    pins, starts, weights = list[int](), [0], list[float]()
    of_unit: list[list[int]] = [[] for _ in netlist.units]
    for net in netlist.nets:
        joined = dict.fromkeys(number[name] for name in (net.source, *net.sinks))
        if len(joined) < 2:
            continue
        for unit in joined:
            of_unit[unit].append(len(weights))
        pins += joined
        starts.append(len(pins))
        weights.append(max(net.activity, FLOOR))
    return Wires(
        np.array(starts, np.int64), np.array(pins, np.int64), np.array(weights),
        tuple(tuple(nets) for nets in of_unit),
    )  # fmt: skip


def length(wired: Wires, at: Floats) -> float:
    """Hops times activity over all nets, each half the border of the box around its pins.

    `at` holds row and column of every unit, (units, 2).  Half the border is what a net of two or
    three pins takes; broader ones take more, and routing says how much.
    """
    if not wired.nets:
        return 0.0
    each = at[wired.pins]
    starts = wired.starts[:-1]
    span = np.maximum.reduceat(each, starts) - np.minimum.reduceat(each, starts)
    return float(span.sum(axis=1) @ wired.weights)
