"""Where along the streamed axis a program has anything to fold."""

from __future__ import annotations

from maquette.compiler.kernel import Kernel
from maquette.compiler.tile import roles as folds
from maquette.compiler.tile.live import FIRST, LAST, Linear, Range
from maquette.run.triton.roles import Roles


def alive(kernel: Kernel, found: Roles) -> tuple[list[str], str, str]:
    """Lines that work out where the loop begins and ends, and the text of both.

    Blocks of the streamed axis that a mask rules out for every row of a program are left out; a
    kernel without such a mask, or whose mask looks at what differs inside a program, walks it all.
    """
    assert found.stream is not None
    step, extent = found.blocks[found.stream], kernel.extents[found.stream]
    for asked in folds.roles(kernel):
        if isinstance(asked, folds.Roles) and asked.stream == found.stream:
            rows, live = asked.rows, asked.live
            if (live.lows or live.highs) and _known(live, {FIRST, LAST, *found.scalar}):
                return _lines(live, rows, found, kernel.extents[rows], step, extent)
    return [], "0", str(extent)


def _known(live: Range, names: set[str]) -> bool:
    return all(n in names for bound in (*live.lows, *live.highs) for n, _ in bound.terms)


def _lines(
    live: Range, rows: str, found: Roles, count: int, step: int, extent: int
) -> tuple[list[str], str, str]:
    lines = [f"first = i_{rows}", f"last = i_{rows}"]
    if rows in found.blocked:
        block = found.blocks[rows]
        start = f"g_{rows} * {block}" if count > block else "0"
        lines = [f"first = {start}", f"last = min(first + {block}, {count}) - 1"]
    elif rows not in found.scalar:
        lines = ["first = 0", f"last = {count - 1}"]
    lines += ["low = 0", f"high = {extent}"]
    lines += [f"low = max(low, {_text(bound)})" for bound in live.lows]
    lines += [f"high = min(high, {_text(bound)})" for bound in live.highs]
    # rows that nothing is open to walk all of it: what they fold is for them to say
    lines += ["if low >= high:", "    low = 0", f"    high = {extent}"]
    return [*lines, f"low = low // {step} * {step}"], "low", "high"


def _text(bound: Linear) -> str:
    names = {FIRST: "first", LAST: "last"}
    terms = [f"{c} * {names.get(n, f'i_{n}')}" for n, c in bound.terms]
    return " + ".join([*terms, str(bound.constant)])
