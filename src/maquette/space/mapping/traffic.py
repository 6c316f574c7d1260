"""Words that cross the border of an on-chip memory, of a kernel under any nest of tiled loops.

Nothing here knows an operator.  A tensor is copied where the last of its axes is first cut, a tile
at a time, as often as the loops outside turn; what a fold has so far is kept until its last loop is
through, or, spilled, written and read again at every turn.  Counts are polynomials where extents
and steps are symbols.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil

from maquette.compiler.kernel import Kernel, Stage, Tensor
from maquette.errors import Fault, InputError
from maquette.ir.sizes import Size, SizeLike, size


@dataclass(frozen=True)
class Loop:
    """Over one axis in steps; of several over one axis the first cuts what is copied."""

    axis: str
    step: SizeLike = 1


@dataclass(frozen=True)
class Words:
    """Elements of one tensor, or of what one fold has so far."""

    name: str
    read: Size
    written: Size
    held: Size  # on chip at a time


@dataclass(frozen=True)
class Nest:
    """A kernel under loops, and what it moves."""

    loops: tuple[Loop, ...]
    words: tuple[Words, ...]

    @property
    def moved(self) -> Size:
        return sum((w.read + w.written for w in self.words), start=size(0))

    @property
    def held(self) -> Size:
        return sum((w.held for w in self.words), start=size(0))


def words(
    kernel: Kernel,
    loops: Sequence[Loop],
    extents: Mapping[str, SizeLike] | None = None,
    spilled: Collection[str] = (),
    stored: bool = False,
) -> Nest:
    """What `kernel` moves under `loops`, the outermost first; an axis without one is not cut.

    `extents` stand for those of the kernel, symbols where polynomials are wanted.  `spilled` are
    results of folds that leave the chip between turns, `stored` whether they begin in memory too.

    >>> from maquette.compiler.fuse import parse_kernel
    >>> product = parse_kernel('''kernel product
    ...   extent m=64, n=64, k=64
    ...   in a f32[m, k] strides 64, 1
    ...   in b f32[k, n] strides 64, 1
    ...   out c f32[m, n] strides 64, 1
    ...   f32 c[m, n] = add over k: %a * %b
    ... ''')
    >>> found = words(product, (Loop("m", "r"), Loop("n", "c")), {"m": "m", "n": "n", "k": "k"})
    >>> [str(w.read + w.written) for w in found.words]
    ['k*m', 'k*m*n*r^-1', 'm*n']
    """
    for loop in loops:
        if loop.axis not in kernel.extents:
            raise InputError(Fault(kernel.name, f"has no axis {loop.axis!r} to loop over"))
    walk = _Walk(tuple(loops), {**kernel.extents, **(extents or {})})
    folds = {r.name: s for s in kernel.stages if s.kind != "map" for r in s.results}
    outputs = {t.name for t in kernel.outputs}
    found = [_copied(t, walk) for t in kernel.inputs]
    for stage in kernel.stages:
        for result in stage.results:
            axes, fold = result.axes, folds.get(result.name)
            if fold is None:
                found.append(_made(result.name, axes, result.name in outputs, walk))
            elif result.name in spilled:
                done = _finished(result.name, kernel)
                found.append(_spilled(result.name, axes, fold, done, stored, walk))
            else:
                found.append(_kept(result.name, axes, fold, result.name in outputs, walk))
    return Nest(tuple(loops), tuple(found))


def least(
    kernel: Kernel, order: Sequence[str], capacity: float, stored: bool = False
) -> Nest | None:
    """The nest in this order of loops that moves least with `capacity` words on chip.

    Steps are powers of two; folds whose loop is outside the axes of their results are kept where
    that fits, else spilled.  None where nothing fits.
    """
    best: Nest | None = None
    choices = [_steps(kernel.extents[a]) for a in order]
    for steps in product(*choices):
        loops = tuple(Loop(a, n) for a, n in zip(order, steps, strict=True))
        outside = _outside(kernel, loops)
        for spilled in ((), outside) if outside else ((),):
            nest = words(kernel, loops, spilled=spilled, stored=stored)
            if _number(nest.held) > capacity:
                continue
            if best is None or _number(nest.moved) < _number(best.moved):
                best = nest
            break
    return best


def joined(kernels: Sequence[Kernel]) -> Kernel:
    """Kernels as the stages of one: what lies between them stays on chip.

    Raises InputError where an axis means different extents in two of them.
    """
    extents: dict[str, int] = {}
    inputs: dict[str, Tensor] = {}
    stages: list[Stage] = []
    made: dict[str, str] = {}  # buffer → result
    for kernel in kernels:
        for axis, extent in kernel.extents.items():
            if extents.setdefault(axis, extent) != extent:
                raise InputError(Fault(kernel.name, f"axis {axis!r} is {extent}, elsewhere not"))
        inputs |= {t.name: t for t in kernel.inputs if t.buffer not in made}
        names = {t.name: made.get(t.buffer, t.name) for t in kernel.inputs}
        for s in kernel.stages:
            stages.append(replace(s, reads=tuple(names.get(n, n) for n in s.reads)))
        made |= {t.buffer: t.name for t in kernel.outputs}
    read = {n for s in stages for n in s.reads}
    outputs = (t for k in kernels for t in k.outputs if t.name not in read)
    return Kernel(kernels[0].name, extents, tuple(inputs.values()), tuple(outputs), tuple(stages))


@dataclass(frozen=True)
class _Walk:
    loops: tuple[Loop, ...]
    extents: Mapping[str, SizeLike]

    def turns(self, place: int) -> Size:
        """How often a loop runs, each time that it is entered."""
        axis = self.loops[place].axis
        whole = size(self.extents[axis])
        for loop in self.loops[:place]:
            if loop.axis == axis:
                whole = size(loop.step)
        step = size(self.loops[place].step)
        if whole.constant is not None and step.constant is not None:
            return size(ceil(whole.constant / step.constant))
        return whole / step

    def times(self, places: Iterator[int]) -> Size:
        total = size(1)
        for p in places:
            total = total * self.turns(p)
        return total

    def first(self, axes: Collection[str]) -> list[int]:
        """Where each of `axes` that has a loop is first cut."""
        seen: dict[str, int] = {}
        for i, loop in enumerate(self.loops):
            if loop.axis in axes:
                seen.setdefault(loop.axis, i)
        return sorted(seen.values())

    def extent(self, axes: Collection[str], before: int) -> Size:
        """Points of `axes`, cut by the loops before a place alone."""
        total = size(1)
        for axis in axes:
            cut = [x.step for x in self.loops[:before] if x.axis == axis]
            total = total * (cut[-1] if cut else self.extents[axis])
        return total


def _copied(tensor: Tensor, walk: _Walk) -> Words:
    axes = [a for a, s in zip(tensor.axes, tensor.strides, strict=True) if s]
    own = walk.first(axes)
    last = own[-1] if own else -1
    again = walk.times(i for i in range(last) if walk.loops[i].axis not in axes)
    whole, tile = walk.extent(axes, 0), walk.extent(axes, last + 1)
    return Words(tensor.name, whole * again, size(0), tile)


def _made(name: str, axes: tuple[str, ...], output: bool, walk: _Walk) -> Words:
    whole = walk.extent(axes, 0) if output else size(0)
    return Words(name, size(0), whole, walk.extent(axes, len(walk.loops)))


def _kept(name: str, axes: tuple[str, ...], fold: Stage, output: bool, walk: _Walk) -> Words:
    """What is so far stays for as long as the outermost loop over a folded axis."""
    over = walk.first(fold.over)
    held = walk.extent(axes, over[0] if over else len(walk.loops))
    return Words(name, size(0), walk.extent(axes, 0) if output else size(0), held)


def _spilled(
    name: str, axes: tuple[str, ...], fold: Stage, done: bool, stored: bool, walk: _Walk
) -> Words:
    own = walk.first(axes)
    last = own[-1] if own else -1
    outer = [i for i in range(last) if walk.loops[i].axis not in axes]
    visits = walk.times(iter(outer))
    folds = walk.times(i for i in outer if walk.loops[i].axis not in fold.over)
    whole = walk.extent(axes, 0)
    read = whole * visits if stored else whole * (visits - folds)
    written = whole * (visits - folds) if done else whole * visits
    return Words(name, read, written, walk.extent(axes, last + 1))


def _finished(name: str, kernel: Kernel) -> bool:
    """Whether a map takes the last of a fold and writes in its stead."""
    outputs = {t.name for t in kernel.outputs}
    return name not in outputs


def _outside(kernel: Kernel, loops: Sequence[Loop]) -> tuple[str, ...]:
    """Results of folds whose loop is outside of one over the result's axes."""
    place = {loop.axis: i for i, loop in reversed(list(enumerate(loops)))}
    found = []
    for stage in kernel.stages:
        over = [place[a] for a in stage.over if a in place]
        for r in stage.results if over else ():
            if any(place.get(a, -1) > min(over) for a in r.axes):
                found.append(r.name)
    return tuple(found)


def _steps(extent: int) -> list[int]:
    found = [1 << i for i in range(extent.bit_length()) if 1 << i < extent]
    return [*found, extent]


def _number(value: Size) -> float:
    assert value.constant is not None
    return float(value.constant)
