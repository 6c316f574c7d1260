"""Stages that a program runs at once: maps, and reductions and scans of resident axes."""

from __future__ import annotations

from collections.abc import Iterable

from maquette.compiler.kernel import Stage
from maquette.errors import Fault, NotYet
from maquette.ir.monoids import Monoid
from maquette.ir.scalar import Arg, Scalar
from maquette.run.triton.blocks import Blocks, Dims
from maquette.run.triton.bodies import expression
from maquette.run.triton.roles import REDUCTIONS, product_of, sides

_NARROW = {"bf16": "tl.bfloat16", "f16": "tl.float16"}


def stage_lines(blocks: Blocks, stage: Stage) -> list[str]:
    """The lines of a stage; what it makes is held in `blocks`."""
    if stage.kind == "map":
        return _map(blocks, stage)
    if len(stage.over) > 1 and stage.monoid is not None and not stage.monoid.commutative:
        raise NotYet(Fault("triton", f"an ordered fold over {', '.join(stage.over)} at once"))
    if stage.kind == "scan":
        return _scan(blocks, stage)
    return _reduce(blocks, stage)


def _map(blocks: Blocks, stage: Stage) -> list[str]:
    lines = []
    for result, leaf in zip(stage.results, stage.leaves, strict=True):
        dims = blocks.dims(blocks.free(leaf, stage))
        variable = blocks.name(result.name)
        lines.append(f"{variable} = {blocks.text(leaf, stage, dims)}")
        blocks.held[result.name] = (variable, dims)
    return lines


def _reduce(blocks: Blocks, stage: Stage) -> list[str]:
    if stage.monoid in REDUCTIONS or product_of(stage, 0):
        over = [a for a in stage.over if a in blocks.roles.blocks]
        if pair := product(blocks, stage, *(product_of(stage, 0) or ())):
            lines, variable, dims = pair
        else:
            lines, variable, dims = leaf_block(blocks, stage, 0, set(over))
            for axis in over:
                call = REDUCTIONS[stage.monoid]  # type: ignore[index]
                reduced = blocks.name(stage.results[0].name)
                lines.append(f"{reduced} = {call}({variable}, axis={dims.index(axis)})")
                variable, dims = reduced, tuple(a for a in dims if a != axis)
        blocks.held[stage.results[0].name] = (variable, dims)
        return lines
    return _general(blocks, stage, "tl.reduce")


def _scan(blocks: Blocks, stage: Stage) -> list[str]:
    return _general(blocks, stage, "tl.associative_scan")


def _general(blocks: Blocks, stage: Stage, call: str) -> list[str]:
    """Any monoid: its combine as a function, its components over one domain."""
    monoid = stage.monoid
    assert monoid is not None
    axes = {a for leaf in stage.leaves for a in blocks.free(leaf, stage)} | set(stage.over)
    dims = blocks.dims(axes)
    lines, held = [], []
    for i in range(monoid.width):
        made, variable, own = leaf_block(blocks, stage, i, set(dims))
        assert own == dims
        lines += made
        held.append(variable)
    (axis, *others) = [a for a in stage.over if a in dims]
    if others:
        raise NotYet(Fault("triton", f"{monoid.name} over several axes at once"))
    names = [blocks.name(r.name) for r in stage.results]
    left = dims if stage.kind == "scan" else tuple(a for a in dims if a != axis)
    tuple_ = f"({', '.join(held)},)" if len(held) > 1 else held[0]
    folded = f"{call}({tuple_}, {dims.index(axis)}, {combine(blocks, monoid)})"
    lines.append(f"{', '.join(names)} = {folded}")
    for result, variable in zip(stage.results, names, strict=True):
        blocks.held[result.name] = (variable, left)
    return lines


def leaf_block(
    blocks: Blocks, stage: Stage, component: int, needs: set[str]
) -> tuple[list[str], str, Dims]:
    """A leaf over a block, the identity where the block hangs over a reduced axis."""
    leaf, monoid = stage.leaves[component], stage.monoid
    assert monoid is not None
    dims = blocks.dims(blocks.free(leaf, stage) | needs)
    variable = blocks.name(stage.results[component].name)
    text = blocks.text(leaf, stage, dims)
    tests = [t for a in stage.over if a in dims and (t := blocks.overhang(a, dims))]
    if tests:
        identity = expression(monoid.identity[component], str, str, {})
        text = f"tl.where({' & '.join(tests)}, {text}, {identity})"
    lines = [f"{variable} = {text}"]
    if dims:
        lines.append(f"{variable} = tl.broadcast_to({variable}, {blocks.shape(dims)})")
    return lines, variable, dims


def product(
    blocks: Blocks, stage: Stage, left: Scalar | None = None, right: Scalar | None = None
) -> tuple[list[str], str, Dims] | None:
    """A sum of products as a product of two blocks, where it is one."""
    if left is None or right is None:
        return None
    over = stage.over[0]
    found = sides(blocks.free(left, stage), blocks.free(right, stage), over, blocks.roles)
    if found is None:
        return None
    rows, columns = found
    a, b = blocks.name("left"), blocks.name("right")
    lines = []
    narrow = shared_format(blocks, stage, (left, right))
    for variable, body, dims in ((a, left, (rows, over)), (b, right, (over, columns))):
        text = blocks.text(body, stage, dims)
        test = blocks.overhang(over, dims)
        if test is not None and not isinstance(body, Arg):  # a read is zero there already
            text = f"tl.where({test}, {text}, 0.0)"
        if narrow:  # as it is stored: what reading widened is not needed
            text = text.removesuffix(".to(tl.float32)")
        lines.append(f"{variable} = {text}")
    variable = blocks.name(stage.results[0].name)
    lines.append(f"{variable} = {dot(a, b)}")
    return lines, variable, (rows, columns)


def dot(left: str, right: str) -> str:
    """A product of two blocks, accumulated in 32 bits, fp32 operands in full."""
    return f'tl.dot({left}, {right}, input_precision="ieee")'


def shared_format(blocks: Blocks, stage: Stage, bodies: Iterable[Scalar]) -> str | None:
    """The 16-bit format that the tensors of a product are stored in, if they share one."""
    found = set()
    for body in bodies:
        if not (isinstance(body, Arg) and stage.reads[body.number] in blocks.tensors):
            return None
        found.add(blocks.tensors[stage.reads[body.number]].dtype.name)
    return _NARROW.get(found.pop()) if len(found) == 1 else None


def combine(blocks: Blocks, monoid: Monoid) -> str:
    """The name of a function that combines two tuples of a monoid."""
    n = monoid.width
    slots = [f"a{i}" for i in range(n)] + [f"b{i}" for i in range(n)]
    texts = [expression(c, lambda arg: slots[arg.number], str, {}) for c in monoid.combine]
    safe = "".join(c if c.isalnum() else "_" for c in monoid.name)
    name = f"_combine_{safe}_{n}"
    text = f"@triton.jit\ndef {name}({', '.join(slots)}):\n    return {', '.join(texts)}"
    if text not in blocks.functions:
        blocks.functions.append(text)
    return name
