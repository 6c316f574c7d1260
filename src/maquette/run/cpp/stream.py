"""Streamed folds as C++: blocks of rows across lanes, the stream in blocks that stay in cache.

task (parallel): a super-block of rows at one point of the outer axes
  pack the row operands of products, lanes last; set the states
  for every block of the stream that is live for some row of the task
    for every block of rows
      products into a tile; phases over the tile; contractions of the tile with operands
  finish: outputs from states, lanes back to rows
"""

from __future__ import annotations

import hashlib

from maquette.compiler.kernel import Kernel, Tensor
from maquette.compiler.processor import Processor
from maquette.compiler.tile import strides
from maquette.compiler.tile.live import FIRST, LAST, Linear, Range
from maquette.compiler.tile.roles import Component
from maquette.compiler.tile.stream import read
from maquette.compiler.tiling import Tiling
from maquette.ir.scalar import Arg
from maquette.run.cpp import stream_micro as micro
from maquette.run.cpp.stream_operands import Operand, operands
from maquette.run.cpp.stream_phases import GATHERS, Block, finish, literal_of, phase, place
from maquette.run.cpp.stream_plan import Plan, functions
from maquette.run.cpp.vector import ctype, prelude
from maquette.run.source import Source


def emit(kernel: Kernel, tiling: Tiling, processor: Processor) -> Source:
    """The C++ of `kernel` as `tiling` says.

    Raises NotYet for a scalar operation that has no vector form.
    """
    plan = Plan(*read(kernel, tiling), processor.lanes)
    pieces = [
        prelude(processor.lanes, functions(plan)),
        "#define NOINLINE __attribute__((noinline))",
        "namespace fold {",
        "FN long least(long a, long b) { return a < b ? a : b; }",
        micro.MOVES,
        GATHERS,
        *_products(plan),
        *_contractions(plan),
        *_task(plan),
        *_entry(plan, "@SYMBOL@", processor.threads),
        "}",
    ]
    text = "\n".join(pieces) + "\n"
    symbol = f"stream_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    text = text.replace("@SYMBOL@", symbol)
    return Source(symbol, text, 4 * _scratch(plan) * processor.threads)


def _products(plan: Plan) -> list[str]:
    found = []
    for i, held in enumerate(operands(plan)[: len(plan.roles.products)]):
        tile = micro.Register(plan.block, plan.lanes, *plan.sizes.products)
        over = list(zip(map(plan.extent, held.axes), held.strides, strict=True))
        rest = plan.extent(plan.roles.stream) % tile.scalars
        found.append(micro.product(f"product_{i}", tile, held.ctype, over, held.step, rest))
    return found


def _contracted(plan: Plan) -> list[tuple[int, Component, Operand]]:
    """Number, component and operand of every contraction along the stream."""
    some = [(i, c) for i, c in enumerate(plan.roles.components) if c.operand is not None]
    held = operands(plan)[len(plan.roles.products) :]
    return [(i, c, o) for (i, c), o in zip(some, held, strict=True)]


def _contractions(plan: Plan) -> list[str]:
    found = []
    for i, c, held in _contracted(plan):
        tile = micro.Register(plan.block, plan.lanes, *plan.sizes.contractions)
        (inner,), extent = held.strides, plan.extent(c.inner)
        repaired = c.repair is not None
        name = f"contract_{i}"
        found.append(micro.contract(name, tile, held.ctype, extent, held.step, inner, repaired))
    return found


def _stride(tensor: Tensor, arg: Arg, axis: str) -> int:
    found = strides.stride(tensor, arg, axis)
    assert found is not None  # else the kernel is not of the class
    return found


def _task(plan: Plan) -> list[str]:
    """One super-block: what one thread does without the others."""
    roles = plan.roles
    extent = plan.extent(roles.rows)
    outer = [f"const int c_{i}" for i in range(len(roles.outer))]
    each_block = [
        f"for (long b = 0, first = base; first < end; ++b, first += {plan.block}) {{",
        f"const long last = least(first + {plan.block}, {extent}) - 1;",
    ]
    return [
        "static void task(void *const *buffers, float *scratch, "
        + ", ".join([*outer, "const long base"])
        + ") {",
        *_buffers(plan),
        f"const long end = least(base + {plan.sizes.super}, {extent});",
        "long low = __LONG_MAX__, high = 0;",
        *each_block,
        *_begun(plan),
        *_bounds(plan, roles.live, "l"),
        *_aligned(plan),
        "low = l0 < low ? l0 : low; high = l1 > high ? l1 : high;",
        "}",
        f"for (long s0 = low; s0 < high; s0 += {plan.sizes.depth}) {{",
        *(line for o in operands(plan) for line in o.copied(_origin(plan, o.arg))),
        *each_block,
        *_bounds(plan, roles.live, "l"),
        *_aligned(plan),
        f"const long s1 = s0 + {plan.sizes.depth};",
        "const long t0 = l0 > s0 ? l0 : s0, t1 = l1 < s1 ? l1 : s1;",
        "if (t0 >= t1) continue;",
        *_bounds(plan, roles.full, "f"),
        "const long o0 = f0 < t0 ? t0 : f0 < t1 ? f0 : t1, o1 = f1 < o0 ? o0 : f1 < t1 ? f1 : t1;",
        *_tile(plan),
        "}",
        "}",
        *each_block,
        *finish(plan),
        "}",
        "}",
    ]


def _buffers(plan: Plan) -> list[str]:
    roles, lines = plan.roles, []
    inputs = roles.kernel.inputs
    for i, tensor in enumerate(inputs):
        kind = ctype(tensor.dtype)
        lines.append(
            f"const {kind} *const in_{i} = (const {kind} *)buffers[{i}] + {tensor.offset};"
        )
    for i, (tensor, _) in enumerate(roles.outputs):
        held = len(inputs) + i
        kind = ctype(tensor.dtype)
        lines.append(f"{kind} *const out_{i} = ({kind} *)buffers[{held}] + {tensor.offset};")
    for i in range(len(plan.turned)):
        lines.append(f"float *const side_{i} = {place(plan, f'side {i}')};")
    for i in range(plan.phases.buffers):
        lines.append(f"float *const tile_{i} = {place(plan, f'tile {i}')};")
    return lines


def _begun(plan: Plan) -> list[str]:
    """Row operands packed, states at their identities."""
    roles, lines = plan.roles, []
    for p in roles.products:
        tensor = roles.tensors[roles.names[p.rows.number]]
        target = place(plan, f"rows of {p.name}")
        row = _stride(tensor, p.rows, roles.rows)
        loops, offsets, size = [], [], 1
        for axis in reversed(p.over[:-1]):
            size *= plan.extent(axis)
        for k, axis in enumerate(p.over[:-1]):
            loops.append(f"for (long d{k} = 0; d{k} < {plan.extent(axis)}; ++d{k})")
            offsets.append(f"d{k} * {_stride(tensor, p.rows, axis)}")
        inner = plan.extent(p.over[-1])
        index = "0"
        for k, axis in enumerate(p.over[:-1]):
            index = f"({index} * {plan.extent(axis)} + d{k})"
        shape = f"{row}, {_stride(tensor, p.rows, p.over[-1])}, {inner}, {plan.block}"
        source = " + ".join([_origin(plan, p.rows), f"first * {row}", *offsets])
        held = f"{target} + {index} * {inner * plan.block}"
        lines += [*loops, f"pack<{shape}>({source}, {held}, {p.scale!r}f, last - first + 1);"]
    for c in roles.components:
        count = plan.width(c) * plan.block
        lines.append(f"for (long i = 0; i < {count}; i += LANES)")
        lines.append(f"st({place(plan, c.name)} + i, splat({literal_of(c.op)}));")
    return lines


def _origin(plan: Plan, arg: Arg) -> str:
    """Where the elements that `arg` reads at one point of the outer axes begin."""
    roles = plan.roles
    tensor = roles.tensors[roles.names[arg.number]]
    block = Block(plan, 0, "", "z")
    terms = [f"in_{arg.number}"]
    for at, step in zip(strides.coordinates(tensor, arg).values(), tensor.strides, strict=True):
        inside = strides.indices(at)
        zero = inside - set(roles.outer)
        if zero:
            at = strides.at_zero(at, zero)
        terms.append(f"(long)({block.inline(at)}) * {step}")
    return " + ".join(terms)


def _bounds(plan: Plan, range_: Range, name: str) -> list[str]:
    """``name0`` and ``name1``: where a range begins and ends for rows ``first … last``."""
    extent = plan.extent(plan.roles.stream)
    lines = [f"long {name}0 = 0, {name}1 = {0 if range_.empty else extent};"]
    for bound in range_.lows:
        text = _linear(plan, bound)
        lines.append(f"{name}0 = {name}0 < {text} ? {text} : {name}0;")
    for bound in range_.highs:
        text = _linear(plan, bound)
        lines.append(f"{name}1 = {name}1 > {text} ? {text} : {name}1;")
    return lines


def _linear(plan: Plan, bound: Linear) -> str:
    names = {FIRST: "first", LAST: "last"}
    names |= {n: f"c_{i}" for i, n in enumerate(plan.roles.outer)}
    return (
        "("
        + " + ".join([f"{c} * {names[n]}" for n, c in bound.terms] + [str(bound.constant)])
        + ")"
    )


def _aligned(plan: Plan) -> list[str]:
    """A live range widened to whole register tiles, but not past the end.

    Rows that nothing is open to walk all of the stream: what they fold is for them to say.
    """
    extent = plan.extent(plan.roles.stream)
    return [
        f"if (l0 >= l1) l0 = 0, l1 = {extent};",
        f"l0 = l0 / {plan.sizes.grain} * {plan.sizes.grain};",
        f"l1 = (l1 + {plan.sizes.grain - 1}) / {plan.sizes.grain} * {plan.sizes.grain};",
        f"l1 = l1 > {extent} ? {extent} : l1;",
    ]


def _tile(plan: Plan) -> list[str]:
    """What happens to one tile: block of rows × block of the stream."""
    roles, lines = plan.roles, []
    for i, (p, held) in enumerate(zip(roles.products, operands(plan), strict=False)):
        source = held.source(_origin(plan, p.stream))
        target = f"tile_{plan.phases.buffer(roles.names.index(p.name))}"
        lines.append(
            f"product_{i}({source}, {place(plan, f'rows of {p.name}')}, {target}, t1 - t0);"
        )
    for i, arg in enumerate(plan.turned):
        tensor = roles.tensors[roles.names[arg.number]]
        row = _stride(tensor, arg, roles.rows)
        source = f"{_origin(plan, arg)} + first * {row} + t0"
        lines.append(f"turn<{row}, {plan.block}>({source}, side_{i}, last - first + 1, t1 - t0);")
    for number in range(plan.phases.count):
        lines += phase(plan, number)
    for i, c, held in _contracted(plan):
        source = held.source(_origin(plan, held.arg))
        leaf = plan.phases.leaves[c.name]
        assert isinstance(leaf, Arg)
        tile = plan.phases.buffer(leaf.number)
        state, repair = place(plan, c.name), place(plan, c.name + "'")
        lines.append(f"contract_{i}({source}, tile_{tile}, {state}, {repair}, t1 - t0);")
    return lines


def _scratch(plan: Plan) -> int:
    """Floats of one thread, in whole pages so that threads share none."""
    return -(-plan.places["end"][0] // 1024) * 1024


def _entry(plan: Plan, name: str, threads: int) -> list[str]:
    """The function that is called: tasks in parallel, those with most to do first."""
    roles = plan.roles
    extent = plan.extent(roles.rows)
    count = -(-extent // plan.sizes.super)
    tasks = count
    decode = []
    for i, axis in reversed(list(enumerate(roles.outer))):
        decode.append(f"const int c_{i} = n % {plan.extent(axis)}; n /= {plan.extent(axis)};")
        tasks *= plan.extent(axis)
    order = f"({count - 1} - k)" if longest_last(plan) else "k"
    held = len(roles.kernel.inputs) + len(roles.outputs)
    return [
        *_SUBNORMALS,
        f'extern "C" void {name}(void *const *buffers) {{',
        f"#pragma omp parallel num_threads({threads})",
        "{",
        f"float *const scratch = (float *)buffers[{held}] + thread() * {_scratch(plan)};",
        "const unsigned mode = flush_subnormals();",
        "#pragma omp for schedule(dynamic, 1) nowait",
        f"for (long i = 0; i < {tasks}; ++i) {{",
        f"long n = i; const long k = n % {count}; n /= {count};",
        *decode,
        "task(" + ", ".join(["buffers", "scratch", *(f"c_{i}" for i in range(len(roles.outer)))])
        + f", {order} * {plan.sizes.super});",
        "}",
        "restore_subnormals(mode);",
        "}",
        "}",
    ]  # fmt: skip


def longest_last(plan: Plan) -> bool:
    """Whether blocks of later rows have more of the stream to fold than those of earlier ones."""
    roles = plan.roles
    extent, stream = plan.extent(roles.rows), plan.extent(roles.stream)
    start = dict.fromkeys(roles.outer, 0)

    def length(first: int) -> int:
        last = min(first + plan.block, extent) - 1
        low, high = roles.live.along(start | {FIRST: first, LAST: last}, stream)
        return int(high - low)

    return length((extent - 1) // plan.block * plan.block) > length(0)


_SUBNORMALS = """\
#if defined(__SSE__)
FN unsigned flush_subnormals() {
  unsigned old = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(old | 0x8040);
  return old;
}
FN void restore_subnormals(unsigned old) { __builtin_ia32_ldmxcsr(old); }
#elif defined(__aarch64__)
FN unsigned flush_subnormals() {
  unsigned long old;
  asm volatile("mrs %0, fpcr" : "=r"(old));
  asm volatile("msr fpcr, %0" : : "r"(old | 1ul << 24));
  return (unsigned)old;
}
FN void restore_subnormals(unsigned old) {
  asm volatile("msr fpcr, %0" : : "r"((unsigned long)old));
}
#else
FN unsigned flush_subnormals() { return 0; }
FN void restore_subnormals(unsigned) {}
#endif
""".splitlines()
