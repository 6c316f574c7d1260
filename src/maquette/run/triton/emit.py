"""Kernels as Triton: one program for each block of the grid, stages over blocks of numbers."""

from __future__ import annotations

import hashlib
from math import prod

from maquette.compiler.kernel import Kernel, Stage
from maquette.compiler.tiling import Tiling
from maquette.run.source import Source
from maquette.run.triton.blocks import Blocks
from maquette.run.triton.bodies import PRELUDE
from maquette.run.triton.bounds import alive
from maquette.run.triton.folds import advance, start
from maquette.run.triton.roles import Roles, roles
from maquette.run.triton.stages import stage_lines


def emit(kernel: Kernel, tiling: Tiling) -> Source:
    """A module that defines ``kernel(p0, p1, …)``, its GRID and its launch OPTIONS.

    The pointers are those of inputs, then outputs; strides and offsets are constants of the text.
    Raises NotYet for what has no block form.
    """
    found = roles(kernel, tiling)
    blocks = Blocks(kernel, found)
    body = _body(kernel, found, blocks)
    pointers = ", ".join(f"p{i}" for i in range(len(kernel.inputs) + len(kernel.outputs)))
    grid = prod(_programs(kernel, found, a) for a in (*found.scalar, *found.blocked))
    warps = 8 if max(found.blocks.values(), default=1) >= 128 and len(found.blocked) else 4
    parts = [
        PRELUDE,
        *blocks.functions,
        "\n".join(["@triton.jit", f"def kernel({pointers}):", *(f"    {line}" for line in body)]),
        f"GRID = ({grid},)\nOPTIONS = {{'num_warps': {warps}, 'num_stages': 2}}",
    ]
    text = "\n\n\n".join(p.strip("\n") for p in parts) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Source(f"blocks_{digest}", text)


def _programs(kernel: Kernel, found: Roles, axis: str) -> int:
    return -(-kernel.extents[axis] // found.blocks.get(axis, 1))


def _body(kernel: Kernel, found: Roles, blocks: Blocks) -> list[str]:
    lines = _coordinates(kernel, found)
    before, inside, after = _phases(kernel, found.stream)
    for stage in before:
        lines += stage_lines(blocks, stage)
    if found.stream is not None:
        step = found.blocks[found.stream]
        folds = [s for s in inside if s.kind == "reduce" and s.over == (found.stream,)]
        for stage in folds:
            lines += start(blocks, stage)
        bounds, low, high = alive(kernel, found)
        lines += bounds
        lines.append(f"for t0 in range({low}, {high}, {step}):")
        head, blocks.before = len(lines) - 1, []
        loop = [f"i_{found.stream} = t0 + tl.arange(0, {step})"]
        for stage in inside:
            loop += advance(blocks, stage) if stage in folds else stage_lines(blocks, stage)
        lines += [f"    {line}" for line in loop]
        lines[head:head], blocks.before = blocks.before, None
    for stage in after:
        lines += stage_lines(blocks, stage)
    return lines + blocks.stores()


def _phases(kernel: Kernel, stream: str | None) -> tuple[list[Stage], list[Stage], list[Stage]]:
    """Stages before the loop along the streamed axis, in it, and after it."""
    if stream is None:
        return list(kernel.stages), [], []
    before: list[Stage] = []
    inside: list[Stage] = []
    after: list[Stage] = []
    folded: set[str] = set()
    for stage in kernel.stages:
        names = {r.name for r in stage.results}
        if stream in stage.over or any(stream in r.axes for r in stage.results):
            inside.append(stage)
            folded |= names if stream in stage.over else set()
        elif folded & set(stage.reads):
            after.append(stage)
            folded |= names
        else:
            before.append(stage)
    return before, inside, after


def _coordinates(kernel: Kernel, found: Roles) -> list[str]:
    """Where a program is: the last axis of the grid varies fastest."""
    lines = ["at = tl.program_id(0)"]
    for a in reversed((*found.scalar, *found.blocked)):
        n = _programs(kernel, found, a)
        step = found.blocks.get(a)
        point = "0"
        if n > 1:
            lines.append(f"g_{a} = at % {n}")
            lines.append(f"at = at // {n}")
            point = f"g_{a}"
        block = f"i_{a} = {point} * {step} + tl.arange(0, {step})"
        lines.append(f"i_{a} = {point}" if step is None else block)
    lines += [f"i_{a} = tl.arange(0, {found.blocks[a]})" for a in found.resident]
    return lines
