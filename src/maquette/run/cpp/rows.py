"""Strategy "rows": any kernel as loops over its axes, one of them across vector lanes.

Loops run in the order of the tiling.  Outer loops without folds are spread over threads; the axis
across lanes goes in several vectors at a time; other loops may take several iterations at once
(`Loop.step`), whose common reads are then shared.  Stages share loops as `compiler.tile.nest`
says.  Everything is in the text as constants: extents, strides, offsets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile.homes import Home, Plan, plan, started
from maquette.compiler.tile.nest import Loop, Node, Step, inner, mapped
from maquette.compiler.tiling import Tiling
from maquette.run.cpp import rows_folds as folds
from maquette.run.cpp import rows_scan as scan
from maquette.run.cpp import rows_shared as shared
from maquette.run.cpp import rows_stores as stores
from maquette.run.cpp.rows_state import BYTES, TILED, Coordinate, State, identifier
from maquette.run.cpp.vector import ctype, prelude
from maquette.run.cpp.vector_index import Affine, Atom, lane
from maquette.run.source import Source

WORTH = 1 << 14  # operations below which threads cost more than they bring
PAST = 5  # times the caches of all cores: a kernel that moves more writes past them
STACK = 1 << 18  # bytes of a tile above which it is in the workspace


def emit(kernel: Kernel, tiling: Tiling, processor: Processor) -> Source:
    """C++ for a kernel under a tiling of this strategy.

    Raises ProgramError where the order of loops cannot hold the kernel's folds, NotYet for number
    formats and operations that generated code does not have.
    """
    made = plan(kernel, tiling)
    workspace = _Workspace(made, processor)
    regions = [_region(made, node, processor, workspace) for node in made.nodes]
    functions = sorted({f for _, used in regions for f in used})
    body = "\n".join(text for text, _ in regions)
    head = [*_pointers(kernel), *workspace.pointers()]
    text = "\n".join(f"  {line}" for line in head) + "\n" + body
    symbol = f"rows_{identifier(kernel.name)}_{_digest(text)}"
    entry = f'extern "C" void {symbol}(void *const *buffers) {{\n{text}\n}}\n'
    return Source(symbol, prelude(processor.lanes, functions) + entry, workspace.bytes)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _pointers(kernel: Kernel) -> Iterator[str]:
    for i, t in enumerate((*kernel.inputs, *kernel.outputs)):
        const = "const " if i < len(kernel.inputs) else ""
        held = f"{const}{ctype(t.dtype)} *"
        yield f"{held}const {pointer(i)} = ({held})buffers[{i}];"


def pointer(i: int) -> str:
    return f"p{i}"


@dataclass(frozen=True)
class Segment:
    """A stretch of an axis: the head of its loop, "" for one iteration, and what it binds."""

    opening: str
    coordinates: tuple[Coordinate, ...]


class _Workspace:
    """Tiles that are shared by threads, or too large for a stack."""

    def __init__(self, made: Plan, processor: Processor) -> None:
        self.made, self.processor = made, processor
        self.bytes = 0
        self.places: dict[str, tuple[int, int]] = {}  # name → offset, bytes of each thread

    def take(self, name: str, size: int, private: bool) -> str:
        """C for the base of a tile of `size` bytes; of every thread its own if `private`."""
        size = -(-size // 64) * 64
        if name not in self.places:
            self.places[name] = (self.bytes, size if private else 0)
            self.bytes += size * (self.processor.threads if private else 1)
        offset, each = self.places[name]
        thread = f" + {each} * thread()" if private else ""
        return f"((char *)work + {offset}{thread})"

    def pointers(self) -> Iterator[str]:
        if self.bytes:
            count = len(self.made.kernel.inputs) + len(self.made.kernel.outputs)
            yield f"void *const work = buffers[{count}];"


def _region(
    made: Plan, node: Node, processor: Processor, workspace: _Workspace
) -> tuple[str, frozenset[str]]:
    """One node at the top: its own threads, joined at its end."""
    worth = _work(made, node) >= WORTH and processor.threads > 1
    if worth and isinstance(node, Loop) and shared.shareable(made, node):
        return _together(made, node, processor, workspace)
    emitter = _emitter(made, processor, workspace)
    chain = _chain(node)
    rounds = prod(-(-made.kernel.extents[loop.axis] // made.step(loop.axis)) for loop in chain)
    threads = worth and rounds > 1
    emitter.tiles(())
    emitter.chained(chain, threads) if chain else emitter.node(node, ())
    return _block(emitter, threads, processor), frozenset(emitter.s.w.functions)


def _together(
    made: Plan, node: Loop, processor: Processor, workspace: _Workspace
) -> tuple[str, frozenset[str]]:
    """A fold to single numbers: a share for each thread, and then the sum of the shares."""
    first, middle, last = (_emitter(made, processor, workspace) for _ in range(3))
    places = shared.pointers(
        made, node, processor.threads, lambda name, size: workspace.take(name, size, False)
    )
    for emitter in (first, middle, last):
        emitter.s.w.scopes[0].lines += places
        emitter.tiles(())
    shared.before(made, node, processor.threads, first.s)
    middle.node(node, (), share=True)
    shared.after(made, node, processor.threads, last.s)
    blocks = [_block(e, e is middle, processor) for e in (first, middle, last)]
    return "\n".join(blocks), frozenset(f for e in (middle, last) for f in e.s.w.functions)


def _emitter(made: Plan, processor: Processor, workspace: _Workspace) -> _Emitter:
    state = State(made, processor.lanes)
    tensors = (*made.kernel.inputs, *made.kernel.outputs)
    state.pointers = {t.name: pointer(i) for i, t in enumerate(tensors)}
    state.how = _how(made.kernel, processor)
    return _Emitter(state, workspace)


def _block(emitter: _Emitter, threads: bool, processor: Processor) -> str:
    """The outermost scope as text, run by a team where `threads`."""
    writer = emitter.s.w
    if any("stnt(" in line for line in writer.scopes[0].lines):
        writer.line("fence();")
    lines = ["{", *(f"  {line}" for line in writer.scopes[0].lines), "}"]
    if threads and processor.threads > 1:
        lines = [f"#pragma omp parallel num_threads({processor.threads})", *lines]
    return "\n".join(f"  {line}" for line in lines)


def _how(kernel: Kernel, processor: Processor) -> dict[str, str]:
    """How outputs are stored that are not near: "nt" past the caches, "ah" fetched ahead.

    Past them go those that no cache could hold until they are read: writing must not read them.
    """
    room = processor.l2 * processor.threads
    moved = {t.name: prod(t.shape) * t.dtype.bytes for t in (*kernel.inputs, *kernel.outputs)}
    total, held = sum(moved.values()), {t.buffer for t in kernel.inputs}
    if total < room:
        return {}
    past = total >= PAST * room
    return {
        t.name: "nt" if past and moved[t.name] > room and t.buffer not in held else "ah"
        for t in kernel.outputs
    }


def _work(made: Plan, node: Node) -> int:
    return sum(prod(made.kernel.extents[a] for a in s.axes) for s in inner(node))


def _chain(node: Node) -> tuple[Loop, ...]:
    """Loops from a node inwards, one in the other, whose iterations are independent."""
    found: list[Loop] = []
    while isinstance(node, Loop) and mapped(node, node.axis):
        found.append(node)
        if len(node.body) != 1:
            break
        node = node.body[0]
    return tuple(found)


class _Emitter:
    """Nodes to text."""

    def __init__(self, state: State, workspace: _Workspace) -> None:
        self.s, self.plan, self.workspace = state, state.plan, workspace

    def chained(self, chain: tuple[Loop, ...], threads: bool) -> None:
        """Loops that run as one, spread over threads."""
        axes = [loop.axis for loop in chain]
        for pieces in product(*(self.segments(a) for a in axes)):
            openings = [p.opening for p in pieces if p.opening]
            if threads and openings:
                collapse = f" collapse({len(openings)})" if len(openings) > 1 else ""
                openings = [f"#pragma omp for schedule(static) nowait{collapse}", *openings]
            elif threads:
                openings = ["#pragma omp single nowait"]
            bound = {a: p.coordinates for a, p in zip(axes, pieces, strict=True)}
            with self.s.loops(openings, bound, chain):
                self.tiles(chain)
                for child in chain[-1].body:
                    self.node(child, chain)

    def node(self, node: Node, path: tuple[Loop, ...], share: bool = False) -> None:
        """A step, or a loop, whose iterations threads share if so asked."""
        if isinstance(node, Step):
            self.step(node)
            return
        opened = [s for s in inner(node) if started(s, self.plan.paths[s]) == path]
        folded = [s for s in opened if node.axis in s.stage.over]
        for step in folded:
            if scan.across(self.s, step):
                scan.start(self.s, step)
            else:
                folds.start(self.s, step, self.homes(step))
        inside = (*path, node)
        for piece in self.segments(node.axis):
            opening = [piece.opening] if piece.opening else []
            if share:
                how = "for schedule(static)" if opening else "single"
                opening = [f"#pragma omp {how} nowait", *opening]
            with self.s.loops(opening, {node.axis: piece.coordinates}, inside):
                self.tiles(inside)
                for child in node.body:
                    self.node(child, inside)
        for step in folded:
            if step.stage.kind == "reduce":
                kept = partial(shared.keep, self.s) if share else None
                folds.finish(self.s, step, kept)

    def homes(self, step: Step) -> Mapping[str, Home]:
        return self.plan.carried if step.stage.kind == "scan" else self.plan.homes

    def step(self, step: Step) -> None:
        """One step at every instance of the open iteration."""
        if step.stage.kind == "map":
            (i,) = step.parts
            made = []
            for at in self.s.instances(step.axes):
                value = self.s.value(step.stage, step.stage.leaves[i], at)
                self.s.keep(self.plan.homes[step.results[0].name], at, value)
                made.append((at, value))
            for name in step.stores:
                stores.put_out(self.s, step, name, made)
        elif scan.across(self.s, step):
            scan.update(self.s, step)
        else:
            folds.update(self.s, step, self.homes(step))

    def tiles(self, path: tuple[Loop, ...]) -> None:
        """Declare the tiles that live under the loops `path`."""
        for stem, homes in (("t", self.plan.homes), ("c", self.plan.carried)):
            for home in homes.values():
                if home.kept and home.path == path:
                    self.tile(home, stem)

    def tile(self, home: Home, stem: str) -> None:
        kind = TILED[home.result.dtype.kind]
        size = self.s.size(home)
        names = {
            self.s.tile_name(home, at, stem): None for at in self.s.instances(home.result.axes)
        }
        for name in names:
            if home.path and size * BYTES[kind] <= STACK:
                self.s.w.line(f"alignas(64) {kind} {name}[{size}];")
            else:
                place = self.workspace.take(name, size * BYTES[kind], bool(home.path))
                self.s.w.line(f"{kind} *const {name} = ({kind} *){place};")

    def segments(self, axis: str) -> list[Segment]:
        """The loops over an axis: in full steps, then what is left."""
        extent, step = self.plan.kernel.extents[axis], self.plan.step(axis)
        width = self.s.w.lanes if axis == self.plan.lanes else 1
        step = max(step // width, 1) * width
        name, whole = f"{identifier(axis)}_", extent // step * step
        found = []
        if whole > step:
            opening = f"for (long {name} = 0; {name} < {whole}; {name} += {step})"
            base = Affine(((Atom(name, self.s.w.level + 1, 0, whole - step, step), 1),))
            found.append(Segment(opening, self.coordinates(axis, base, step)))
        elif whole:
            found.append(Segment("", self.coordinates(axis, Affine(), step)))
        if extent > whole:
            base = Affine((), whole)
            found.append(Segment("", self.coordinates(axis, base, extent - whole)))
        return found

    def coordinates(self, axis: str, base: Affine, count: int) -> tuple[Coordinate, ...]:
        if axis != self.plan.lanes:
            return tuple(Coordinate(base + i) for i in range(count))
        width, found = self.s.w.lanes, []
        for i in range(0, count, width):
            active = min(width, count - i)
            full = None if active == width else active
            found.append(Coordinate(base + i + lane(active), full))
        return tuple(found)
