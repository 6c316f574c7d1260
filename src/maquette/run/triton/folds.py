"""Folds along the streamed axis: accumulators, and how a block moves them."""

from __future__ import annotations

from dataclasses import replace

from maquette.compiler.kernel import Stage
from maquette.errors import Fault, NotYet
from maquette.ir.monoids import ADD, Monoid, Part, Streamed
from maquette.ir.scalar import Apply, Arg, Scalar
from maquette.run.triton.blocks import Blocks, Dims
from maquette.run.triton.bodies import expression
from maquette.run.triton.roles import REDUCTIONS, product_of, sides
from maquette.run.triton.stages import dot, leaf_block, product, shared_format


def start(blocks: Blocks, stage: Stage) -> list[str]:
    """Accumulators at the identity."""
    monoid = stage.monoid
    assert monoid is not None
    lines = []
    for i, result in enumerate(stage.results):
        dims = blocks.dims(set(result.axes))
        identity = expression(monoid.identity[i], str, str, {})
        variable = f"acc_{blocks.name(result.name)}"
        lines.append(
            f"{variable} = tl.full({blocks.shape(dims)}, {identity}, tl.float32)"
            if dims
            else f"{variable} = {identity} + 0.0 * tl.sum(tl.zeros((2,), tl.float32), axis=0)"
        )
        blocks.held[result.name] = (variable, dims)
    return lines


def advance(blocks: Blocks, stage: Stage) -> list[str]:
    """One block of the streamed axis folded into the accumulators."""
    monoid = stage.monoid
    parts = monoid.parts if isinstance(monoid, Streamed) else _parts(monoid)
    lines: list[str] = []
    before: list[str] = []  # accumulators
    after: list[str] = []
    leaves: list[tuple[str, Dims]] = []
    for i, part in enumerate(parts):
        accumulator = blocks.held[stage.results[i].name][0]
        made, new = _component(blocks, stage, i, part, before, after, leaves)
        lines += made
        before.append(accumulator)
        after.append(new)
    for i, new in enumerate(after):
        lines.append(f"{before[i]} = {new}")
    return lines


def _parts(monoid: Monoid | None) -> tuple[Part, ...]:
    if monoid is not None and monoid in REDUCTIONS:
        return (Part(monoid),)
    raise NotYet(Fault("triton", f"a streamed fold with {monoid}", hint='target="cpu" has one'))


def _component(
    blocks: Blocks,
    stage: Stage,
    i: int,
    part: Part,
    before: list[str],
    after: list[str],
    leaves: list[tuple[str, Dims]],
) -> tuple[list[str], str]:
    """The new value of a component, given those before it; `leaves` gains its leaf."""
    result = stage.results[i]
    accumulator, dims = blocks.held[result.name]
    new = blocks.name(f"new_{result.name}")
    if part.op not in REDUCTIONS:
        raise NotYet(Fault("triton", f"a streamed fold with {part.op}"))
    lines, block, own = _contribution(blocks, stage, i, part, after, leaves)
    block = blocks.spread(block, own, dims)
    held = accumulator
    if part.factor is not None:
        n = len(stage.results)
        names = {j: blocks.spread(before[j], _dims(blocks, stage, j), dims) for j in range(i)}
        names |= {n + j: blocks.spread(after[j], _dims(blocks, stage, j), dims) for j in range(i)}
        factor = blocks.text(part.factor, stage, dims, names)
        held = expression(
            Apply(part.action, (Arg(0), Arg(1))), lambda a: (f"({factor})", held)[a.number], str, {}
        )
    text = expression(part.op.combine[0], lambda a: (held, block)[a.number], str, {})
    return [*lines, f"{new} = {text}"], new


def _dims(blocks: Blocks, stage: Stage, j: int) -> Dims:
    return blocks.held[stage.results[j].name][1]


def _contribution(
    blocks: Blocks, stage: Stage, i: int, part: Part, after: list[str],
    leaves: list[tuple[str, Dims]],
) -> tuple[list[str], str, Dims]:  # fmt: skip
    """What a block adds to a component: its leaves, repaired to the new accumulators, combined."""
    over = stage.over[0]
    single = replace(stage, results=(stage.results[i],), leaves=(stage.leaves[i],), monoid=part.op)
    if part.factor is None:
        pair = product_of(single, 0)
        if pair is not None and (found := product(blocks, single, *pair)) is not None:
            leaves.append((found[1], found[2]))
            return found
    lines, leaf, dims = leaf_block(blocks, single, 0, {over} if part.factor is None else set())
    leaves.append((leaf, dims))
    if part.factor is None:
        return _reduced(blocks, part, over, lines, leaf, dims)
    moved = {over}.union(*(leaves[j][1] for j in _needs(part.factor, len(stage.results))))
    wide = blocks.dims(moved)
    n = len(stage.results)
    names = {j: blocks.spread(*leaves[j], wide) for j in range(i)}
    names |= {n + j: blocks.spread(after[j], _dims(blocks, stage, j), wide) for j in range(i)}
    factor = blocks.once(lines, blocks.text(part.factor, stage, wide, names), "factor")
    if part.action == "mul" and part.op == ADD:
        pair_ = sides(set(wide), set(dims), over, blocks.roles)
        if pair_ is not None:
            rows, columns = pair_
            block = blocks.name(stage.results[i].name)
            a = blocks.spread(factor, wide, (rows, over))
            b = blocks.spread(leaf, dims, (over, columns))
            if narrow := shared_format(blocks, stage, (stage.leaves[i],)):
                a, b = f"{a}.to({narrow})", f"{b}.to({narrow})"
            lines.append(f"{block} = {dot(a, b)}")
            return lines, block, (rows, columns)
    both = blocks.dims(set(wide) | set(dims))
    texts = (blocks.spread(factor, wide, both), blocks.spread(leaf, dims, both))
    acted = expression(Apply(part.action, (Arg(0), Arg(1))), lambda a: texts[a.number], str, {})
    whole = blocks.name("acted")
    lines += [f"{whole} = {acted}"]
    if test := blocks.overhang(over, both):
        identity = expression(part.op.identity[0], str, str, {})
        lines.append(f"{whole} = tl.where({test}, {whole}, {identity})")
    return _reduced(blocks, part, over, lines, whole, both)


def _needs(factor: Scalar, width: int) -> set[int]:
    """The components before it that a factor looks at."""
    match factor:
        case Arg(number):
            return {number % width}
        case Apply(_, args):
            return set().union(*(_needs(a, width) for a in args))
    return set()


def _reduced(
    blocks: Blocks, part: Part, over: str, lines: list[str], variable: str, dims: Dims
) -> tuple[list[str], str, Dims]:
    block = blocks.name("block")
    call = REDUCTIONS[part.op]
    lines.append(f"{block} = {call}({variable}, axis={dims.index(over)})")
    return lines, block, tuple(a for a in dims if a != over)
