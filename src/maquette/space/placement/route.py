"""Routing: a tree of links for every net, negotiated until no link carries more than it can.

PathFinder (McMurchie & Ebeling 1995): every net takes its cheapest tree, links that too many want
become dearer, now and for good, and their nets are torn up and routed again.  On a static network
a net has a track of each of its links to itself; on a packet network streams share tracks, and a
link is full when its words per cycle are its tracks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from maquette.machines.types import Fabric
from maquette.plans.types import Infeasible
from maquette.space.netlist import Net, NetKind
from maquette.space.placement.grid import Cell
from maquette.space.placement.place import Placed

Floats = NDArray[np.float64]
Link = tuple[int, int]  # switches, row * columns + column
ROUNDS, PATIENCE = 40, 6  # at most, and without getting better
PRESSURE, GROWTH = 0.5, 1.6  # what one stream too many costs now, and its growth per round
MEMORY = 0.4  # what it costs from then on


@dataclass(frozen=True)
class Routed:
    """The links of every net, in the order of the netlist's nets."""

    placed: Placed
    trees: tuple[tuple[Link, ...], ...]
    hops: tuple[int, ...]  # from the source to the farthest sink
    load: dict[Link, float]  # of vector nets: streams, or words per cycle on a packet network
    worst: float  # the fullest link, as a share of its tracks
    tracks: float  # of every link, and as many for scalars
    hop: float  # cycles from switch to switch
    rounds: int

    @property
    def delay(self) -> float:
        """Cycles on the way of the longest net."""
        return max(self.hops, default=0) * self.hop

    @property
    def slowdown(self) -> float:
        """By how much the fullest link stretches the interval; 1 where none is overfull."""
        return max(1.0, self.worst)


def route(placed: Placed, fabric: Fabric) -> Routed | Infeasible:
    """Trees for all nets; Infeasible where streams of a static network still share tracks.

    A packet network is never infeasible: an overfull link slows its streams down.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.space.netlist import Net, Netlist, Unit
    >>> from maquette.space.placement.place import place
    >>> pair = Netlist("pair", (Unit("a", "compute"), Unit("b", "memory")), (Net("a", ("b",)),))
    >>> plasticine = machine("plasticine").fabric
    >>> route(place(pair, plasticine), plasticine).hops
    (1,)
    """
    tracks = float(fabric.tracks.value)
    static = fabric.network == "static"
    kinds: tuple[NetKind, ...] = ("vector", "scalar")
    fabrics = {kind: _Links(placed, tracks) for kind in kinds}
    columns = placed.grid.columns
    cells = zip(placed.netlist.units, placed.cells, strict=True)
    at = {unit.name: _switch(cell, columns) for unit, cell in cells}
    jobs = [_Job(net, at, static) for net in placed.netlist.nets]
    rounds = _negotiated(jobs, fabrics)
    short = sum(links.excess() for links in fabrics.values())
    if static and short > 0:
        what = f"section {placed.netlist.name} cannot be routed: some links need more tracks"
        return Infeasible(f"{what} than {tracks:.0f}", short, "tracks in all")
    return Routed(
        placed, tuple(fabrics[job.kind].named(job.tree or frozenset()) for job in jobs),
        tuple(job.hops for job in jobs), fabrics["vector"].loads(),
        max(links.worst() for links in fabrics.values()), tracks,
        float(fabric.hop.value), rounds,
    )  # fmt: skip


def _negotiated(jobs: Sequence[_Job], fabrics: Mapping[NetKind, _Links]) -> int:
    """Route, and route again what is crowded, while that helps; the number of rounds."""
    least, since = float("inf"), 0
    for rounds in range(1, ROUNDS + 1):
        waiting = [job for job in jobs if job.tree is None or fabrics[job.kind].crowded(job.tree)]
        for job in waiting:
            fabrics[job.kind].route(job)
        for links in fabrics.values():
            links.remember()
        excess = sum(links.excess() for links in fabrics.values())
        least, since = (excess, 0) if excess < 0.98 * least else (least, since + 1)
        if not excess or since == PATIENCE:
            return rounds
    return ROUNDS


class _Job:
    """One net, and its tree once it has one."""

    def __init__(self, net: Net, at: Mapping[str, int], static: bool) -> None:
        self.kind = net.kind
        self.use = 1.0 if static else net.activity
        self.source = at[net.source]
        self.sinks = sorted({at[sink] for sink in net.sinks} - {self.source})
        self.tree: frozenset[int] | None = None
        self.hops = 0


def _switch(cell: Cell, columns: int) -> int:
    """The switch of a cell; generators hang on those at the border."""
    return cell[0] * columns + min(max(cell[1], 0), columns - 1)


class _Links:
    """The links of one network, what they carry, and what they cost."""

    def __init__(self, placed: Placed, tracks: float) -> None:
        rows, columns = placed.grid.rows, placed.grid.columns
        self._ends = _neighbours(rows, columns)
        self._number = {pair: i for i, pair in enumerate(map(tuple, self._ends.tolist()))}
        graph = csr_matrix(
            (np.arange(1.0, len(self._ends) + 1), (self._ends[:, 0], self._ends[:, 1])),
            shape=(rows * columns, rows * columns),
        )
        self._order = graph.data.astype(int) - 1
        self._graph = graph
        self._tracks = tracks
        self._load = np.zeros(len(self._ends))
        self._history = np.zeros(len(self._ends))
        self._pressure = PRESSURE

    def route(self, job: _Job) -> None:
        """The cheapest tree for a net, its old one torn up."""
        if job.tree:
            self._load[list(job.tree)] -= job.use
        over = np.maximum(self._load + job.use - self._tracks, 0.0)
        cost = (1.0 + self._history) * (1.0 + self._pressure * over)
        # Of ways alike in length, the emptier one.
        cost += 1e-3 * self._load / self._tracks
        self._graph.data = cost[self._order]
        _, came = dijkstra(self._graph, indices=job.source, return_predecessors=True)
        job.tree, job.hops = self._tree(job.source, job.sinks, came)
        if job.tree:
            self._load[list(job.tree)] += job.use

    def _tree(self, source: int, sinks: Sequence[int], came: Floats) -> tuple[frozenset[int], int]:
        depth = {source: 0}
        links = []
        for sink in sinks:
            path = [sink]
            while path[-1] not in depth:
                path.append(int(came[path[-1]]))
            for at, after in zip(path[:0:-1], path[-2::-1], strict=True):
                links.append(self._number[at, after])
                depth[after] = depth[at] + 1
        return frozenset(links), max((depth[s] for s in sinks), default=0)

    def remember(self) -> None:
        """End of a round: what is overfull stays dearer."""
        self._history += MEMORY * np.maximum(self._load - self._tracks, 0.0)
        self._pressure *= GROWTH

    def crowded(self, tree: frozenset[int]) -> bool:
        return bool(tree) and bool((self._load[list(tree)] > self._tracks + 1e-9).any())

    def excess(self) -> float:
        return float(np.maximum(self._load - self._tracks - 1e-9, 0.0).sum())

    def worst(self) -> float:
        return float(self._load.max(initial=0.0)) / self._tracks

    def named(self, tree: frozenset[int]) -> tuple[Link, ...]:
        return tuple(sorted((a, b) for a, b in self._ends[sorted(tree)].tolist()))

    def loads(self) -> dict[Link, float]:
        ends = self._ends.tolist()
        return {
            (a, b): load for (a, b), load in zip(ends, self._load.tolist(), strict=True) if load
        }


def _neighbours(rows: int, columns: int) -> NDArray[np.int64]:
    """Every pair of switches side by side, both ways, (links, 2)."""
    number = np.arange(rows * columns).reshape(rows, columns)
    beside = np.concatenate(
        [
            np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], 1),
            np.stack([number[:-1].ravel(), number[1:].ravel()], 1),
        ]
    )
    return np.concatenate([beside, beside[:, ::-1]])
