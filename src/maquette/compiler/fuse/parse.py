"""Reading kernels and flows back from text; every fault with its line, column and expectation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from maquette.compiler.kernel import Buffer, Flow, Interpreted, Kernel, Result, Stage, Tensor
from maquette.errors import Fault, InputError, nearest
from maquette.ir.dtypes import DTYPES, dtype
from maquette.ir.monoids import MONOIDS, Monoid
from maquette.ir.parse import monoid_line, parse
from maquette.ir.parse_expressions import expression
from maquette.ir.tokens import Cursor, Failure, lines


@dataclass
class _Block:
    """What the lines of one kernel have said so far."""

    name: str
    kind: str = "kernel"
    extents: dict[str, int] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    monoids: dict[str, Monoid] = field(default_factory=lambda: dict(MONOIDS))
    reason: str = ""
    graph: list[str] = field(default_factory=list)

    def finished(self) -> Kernel | Interpreted:
        inputs, outputs = tuple(self.inputs), tuple(self.outputs)
        if self.kind == "interpreted":
            graph = parse("\n".join(self.graph))
            return Interpreted(self.name, inputs, outputs, graph, self.reason)
        return Kernel(self.name, self.extents, inputs, outputs, tuple(self.stages))

    def known(self) -> dict[str, None]:
        """What a stage may read."""
        made = (r.name for s in self.stages for r in s.results)
        return dict.fromkeys([*(t.name for t in self.inputs), *made])


@dataclass
class _Whole:
    """The lines of a flow before its kernels."""

    name: str
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    arena: list[Buffer] = field(default_factory=list)


def parse_kernel(text: str) -> Kernel:
    """The kernel that `text` is the printed form of.

    Raises InputError with every fault, by line and column.
    """
    flow, blocks = _read(text)
    if flow is not None or len(blocks) != 1 or blocks[0].kind != "kernel":
        found = "a flow" if flow is not None else f"{len(blocks)} kernels"
        raise InputError(Fault("line 1, column 1", f"found {found}", "one kernel"))
    made = blocks[0].finished()
    assert isinstance(made, Kernel)
    return made


def parse_flow(text: str) -> Flow:
    """The flow that `text` is the printed form of; raises InputError as `parse_kernel` does."""
    flow, blocks = _read(text)
    if flow is None:
        raise InputError(Fault("line 1, column 1", "no flow line", "'flow' and its name"))
    kernels = tuple(b.finished() for b in blocks)
    return Flow(flow.name, tuple(flow.inputs), tuple(flow.outputs), kernels, tuple(flow.arena))


def _read(text: str) -> tuple[_Whole | None, list[_Block]]:
    flow: _Whole | None = None
    blocks: list[_Block] = []
    faults: list[Fault] = []
    source = iter([content for content in text.split("\n") if content.partition("#")[0].strip()])
    for cursor, content in zip(lines(text), source, strict=True):
        try:
            word = cursor.peek()
            if word in ("kernel", "interpreted"):
                cursor.next()
                blocks.append(_Block(cursor.name(), word))
            elif word == "flow" and flow is None and not blocks:
                cursor.next()
                flow = _Whole(cursor.name())
            elif blocks and _free(cursor, blocks[-1], content.strip()):
                continue
            elif blocks:
                _line(cursor, blocks[-1])
            elif flow is not None:
                _flow_line(cursor, flow)
            else:
                cursor.fail("'kernel' and its name")
            cursor.end()
        except Failure as failure:
            faults.append(failure.fault)
    if faults:
        raise InputError(*faults)
    return flow, blocks


def _free(cursor: Cursor, block: _Block, content: str) -> bool:
    """Lines of an interpreted block that are not words: the reason, and the graph."""
    if block.kind != "interpreted" or cursor.peek() in ("in", "out"):
        return False
    if cursor.peek() == "because" and not block.graph:
        block.reason = content.removeprefix("because").strip()
    else:
        block.graph.append(content)
    return True


def _flow_line(cursor: Cursor, flow: _Whole) -> None:
    if cursor.accept("in"):
        flow.inputs.append(_tensor(cursor, {}))
    elif cursor.accept("out"):
        flow.outputs.append(_tensor(cursor, {}))
    elif cursor.accept("buffer"):
        name = cursor.name()
        extent = cursor.integer()
        cursor.take("at")
        flow.arena.append(Buffer(name, extent, cursor.integer()))
    else:
        cursor.fail("in, out, buffer or kernel")


def _line(cursor: Cursor, block: _Block) -> None:
    if cursor.accept("extent"):
        block.extents |= dict(cursor.listed(_extent))
    elif cursor.accept("in"):
        block.inputs.append(_tensor(cursor, block.extents))
    elif cursor.accept("out"):
        block.outputs.append(_tensor(cursor, block.extents))
    elif cursor.accept("monoid"):
        monoid = monoid_line(cursor, block.monoids)
        block.monoids[monoid.name] = monoid
    else:
        block.stages.append(_stage(cursor, block))


def _extent(cursor: Cursor) -> tuple[str, int]:
    axis = cursor.name()
    cursor.take("=")
    return axis, cursor.integer()


def _tensor(cursor: Cursor, extents: Mapping[str, int]) -> Tensor:
    name = cursor.name()
    format = dtype(cursor.one_of(DTYPES, "number format"))
    axes: list[str] = []
    shape: list[int] = []
    cursor.take("[")
    if not cursor.accept("]"):
        for axis, extent in cursor.listed(lambda c: _sized(c, extents)):
            axes.append(axis)
            shape.append(extent)
        cursor.take("]")
    strides = cursor.listed(_signed) if axes and cursor.accept("strides") else []
    if len(strides) != len(axes):
        cursor.fail(f"'strides' and {len(axes)} numbers, one per axis")
    buffer = cursor.name() if cursor.accept("of") else name
    offset = cursor.integer() if cursor.accept("+") else 0
    return Tensor(name, format, tuple(axes), tuple(shape), tuple(strides), buffer, offset)


def _sized(cursor: Cursor, extents: Mapping[str, int]) -> tuple[str, int]:
    axis = cursor.name()
    if cursor.accept("="):
        return axis, cursor.integer()
    if axis not in extents:
        cursor.fail(f"'=' and the extent of {axis!r}", nearest(axis, extents) if extents else "")
    return axis, extents[axis]


def _signed(cursor: Cursor) -> int:
    sign = -1 if cursor.accept("-") else 1
    return sign * cursor.integer()


def _stage(cursor: Cursor, block: _Block) -> Stage:
    results = tuple(cursor.listed(_result))
    cursor.take("=")
    monoid: Monoid | None = None
    kind, over = "map", tuple[str, ...]()
    if cursor.peek(1) in ("over", "along"):
        monoid = block.monoids[cursor.one_of(block.monoids, "monoid")]
        kind = "reduce" if cursor.next() == "over" else "scan"
        over = tuple(cursor.listed(Cursor.name))
        cursor.take(":")
    reads: list[str] = []
    known = block.known()
    leaves = tuple(cursor.listed(lambda c: expression(c, _operand(known, reads))))
    width = monoid.width if monoid else 1
    if not len(leaves) == len(results) == width:
        cursor.fail(f"{width} results and {width} bodies")
    return Stage(kind, results, over, monoid, leaves, tuple(reads))  # type: ignore[arg-type]


def _result(cursor: Cursor) -> Result:
    format = dtype(cursor.one_of(DTYPES, "number format"))
    name = cursor.name()
    axes: list[str] = []
    cursor.take("[")
    if not cursor.accept("]"):
        axes = cursor.listed(Cursor.name)
        cursor.take("]")
    return Result(name, tuple(axes), format)


def _operand(known: Mapping[str, Any], reads: list[str]) -> Callable[[Cursor], int]:
    def operand(cursor: Cursor) -> int:
        name = cursor.handle()[1:]
        if name not in known:
            cursor.back()
            cursor.fail("a tensor or a result made above", nearest(name, known))
        if name not in reads:
            reads.append(name)
        return reads.index(name)

    return operand
