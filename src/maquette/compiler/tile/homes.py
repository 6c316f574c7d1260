"""Where the results of a nest live: in registers, or in tiles under the loops that share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from maquette.compiler.kernel import Kernel, Result, Tensor
from maquette.compiler.tile.components import chained
from maquette.compiler.tile.nest import Loop, Node, Step, nest, paths, steps
from maquette.compiler.tiling import Tiling
from maquette.errors import Fault, ProgramError

Path = tuple[Loop, ...]


@dataclass(frozen=True)
class Home:
    """A result is complete under the loops `made`; its readers and it share the loops `path`.

    Along `rest` it is kept in a tile at `path`; where there is none it is in registers, except
    that nothing but memory is shared by loops that have none around both.
    """

    result: Result
    made: Path
    path: Path
    rest: tuple[str, ...]
    kept: bool  # in a tile


@dataclass(frozen=True)
class Plan:
    """A kernel under its loops."""

    kernel: Kernel
    tiling: Tiling
    nodes: tuple[Node, ...]
    paths: Mapping[Step, Path]
    homes: Mapping[str, Home]
    carried: Mapping[str, Home]  # what a scan carries from one iteration to the next

    @property
    def lanes(self) -> str:
        return self.tiling.lanes

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """What is read and written in memory, by name."""
        return {t.name: t for t in (*self.kernel.inputs, *self.kernel.outputs)}

    def step(self, axis: str) -> int:
        """How far one iteration of the loop over `axis` goes."""
        return next((loop.step for loop in self.tiling.loops if loop.axis == axis), 1)


def plan(kernel: Kernel, tiling: Tiling) -> Plan:
    """The nest of a tiling, with a home for every result.

    Raises ProgramError where the loops of the tiling are no order that the kernel can run in.
    """
    kernel = chained(kernel)
    return planned(kernel, steps(kernel), tiling)


def planned(kernel: Kernel, sequence: Sequence[Step], tiling: Tiling) -> Plan:
    """The same of a kernel that is `chained`, and of its steps."""
    order = list(dict.fromkeys(loop.axis for loop in tiling.loops))
    order += [a for a in kernel.extents if a not in order]
    nodes = nest(sequence, order)
    around = paths(nodes)
    homes: dict[str, Home] = {}
    carried: dict[str, Home] = {}
    for step in sequence:
        _check(step, around, tiling)
        for result in step.results:
            homes[result.name] = _home(step, result, sequence, around)
            if step.stage.kind == "scan":
                carried[result.name] = _carried(step, result, around[step])
    return Plan(kernel, tiling, nodes, around, homes, carried)


def started(step: Step, path: Path) -> Path:
    """The loops around the first loop along which a step folds."""
    folded = step.stage.over
    for i, loop in enumerate(path):
        if loop.axis in folded:
            return path[:i]
    return path


def bound(path: Path) -> frozenset[str]:
    """The axes of some loops."""
    return frozenset(loop.axis for loop in path)


def _home(
    step: Step, result: Result, sequence: Sequence[Step], around: Mapping[Step, Path]
) -> Home:
    made = around[step]
    if step.stage.kind == "reduce":
        made = started(step, made)
    path = made
    for reader in sequence:
        if result.name in reader.needs:
            path = common(path, around[reader])
    rest = tuple(a for a in result.axes if a not in bound(path))
    return Home(result, made, path, rest, bool(rest) or not path)


def _carried(step: Step, result: Result, path: Path) -> Home:
    made = started(step, path)
    (along,) = step.stage.over
    rest = tuple(a for a in result.axes if a not in bound(made) and a != along)
    return Home(result, made, made, rest, bool(rest))


def common(a: Path, b: Path) -> Path:
    """The loops that two paths share."""
    count = 0
    while count < min(len(a), len(b)) and a[count] is b[count]:
        count += 1
    return a[:count]


def _check(step: Step, around: Mapping[Step, Path], tiling: Tiling) -> None:
    """Refuse loops that cannot hold the state of a fold."""
    stage, path = step.stage, around[step]
    if stage.kind == "map":
        return
    inside = path[len(started(step, path)) :]
    along = tiling.lanes in stage.over
    kept = [loop.axis for loop in inside if loop.axis not in stage.over]
    fault = ""
    if along and kept:
        fault = f"the loop over {kept[0]!r} is inside a fold across lanes"
    elif along and stage.kind == "reduce" and not (stage.monoid and stage.monoid.commutative):
        fault = f"{stage.monoid} does not commute: lanes cannot fold it"
    for sibling, other in around.items():
        shorter, longer = sorted((path, other), key=len)
        if sibling.stage is stage and longer[: len(shorter)] != shorter:
            fault = "components that need each other are not in one loop"
    if fault:
        name = stage.results[0].name
        raise ProgramError(Fault(f"tiling of {name}", fault, "another order of loops"))
