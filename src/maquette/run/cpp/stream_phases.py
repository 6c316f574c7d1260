"""The phases over a tile, and outputs made of states: vector statements around scalar bodies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from maquette.compiler.tile import bodies, strides
from maquette.compiler.tile.phases import carried_by_sums, falling
from maquette.compiler.tile.roles import Component
from maquette.ir.monoids import Monoid
from maquette.ir.scalar import Apply, Arg, Index, Scalar
from maquette.run.cpp.stream_body import Statements, Type, combined, literal
from maquette.run.cpp.stream_plan import Plan

# Rows of a tensor that are apart, or looked up: one element per lane.  And rounding to bf16.
GATHERS = """\
FN V rounded(V x) {
  VW b = (VW)x;
  VW r = (b + 0x7fff + ((b >> 16) & 1)) & 0xffff0000u;
  return x != x ? x : (V)r;
}
template <typename T> FN V gather(const T *p, long stride, long row, long rows) {
  V r;
  for (int i = 0; i < LANES; ++i)
    r[i] = (float)ls(p + (row + i < rows ? row + i : rows - 1) * stride);
  return r;
}
template <typename T> FN V gather_at(const T *p, VI at) {
  V r;
  for (int i = 0; i < LANES; ++i) r[i] = (float)ls(p + at[i]);
  return r;
}
"""


class Block:
    """Statements for one vector of rows: how bodies read inputs, tiles and states there."""

    def __init__(self, plan: Plan, vector: int, along: str, prefix: str) -> None:
        self.plan, self.along = plan, along
        self.row = f"(g + {vector * plan.lanes})"
        self.statements = Statements(self._read, self._index, self._level, f"{prefix}{vector}_")
        self.statements.weights = falling(plan.phases)

    def inline(self, body: Scalar) -> str:
        """An expression of outer coordinates, which are the same for the whole task."""
        text, _, _ = self.statements.value(body)
        for line in reversed(self.statements.lines[0]):
            name, _, value = line.partition(" ")[2].rstrip(";").partition(" = ")
            text = re.sub(rf"\b{name}\b", f"({value})", text)
        return text

    def hold(self, number: int, text: str, level: int) -> None:
        """What ``Arg(number)`` reads is in the variable `text`."""
        self.statements.known[Arg(number)] = (text, "vf", level)

    def _axes(self) -> list[tuple[str, ...]]:
        roles = self.plan.roles
        return [*roles.axes, *[(roles.rows, roles.stream)] * len(self.plan.phases.kept)]

    def _level(self, arg: Arg) -> int:
        found = bodies.varies(arg, self._axes())
        return 2 if self.along in found else 1 if self.plan.roles.rows in found else 0

    def _index(self, axis: str) -> tuple[str, Type, int]:
        roles = self.plan.roles
        if axis == roles.rows:
            rows = self.statements.named(f"splati((int)first + (int){self.row}) + lane()", "vi", 1)
            last = self.plan.extent(axis) - 1
            if (last + 1) % self.plan.block:
                clamped = f"({rows} > {last} ? splati({last}) : {rows})"
                rows = self.statements.named(clamped, "vi", 1)
            return rows, "vi", 1
        if axis == self.along:
            return "(int)t", "i", 2
        if axis not in roles.outer:  # it has one point
            return "0", "i", 0
        return f"c_{roles.outer.index(axis)}", "i", 0

    def _read(self, arg: Arg) -> tuple[str, Type]:
        plan, number = self.plan, arg.number
        if plan.phases.is_tile(arg):
            return (
                f"ld(tile_{plan.phases.buffer(number)} + (t - t0) * {plan.block} + {self.row})",
                "vf",
            )
        name = plan.roles.names[number]
        if arg in plan.turned and self.along == plan.roles.stream:
            return self._turned(arg)
        if name in plan.roles.tensors:
            return self._tensor(arg)
        offset = f"t * {plan.block} + " if self._level(arg) == 2 else ""
        return f"ld({place(plan, name)} + {offset}{self.row})", "vf"

    def _turned(self, arg: Arg) -> tuple[str, Type]:
        plan = self.plan
        tensor = plan.roles.tensors[plan.roles.names[arg.number]]
        text = f"ld(side_{plan.turned.index(arg)} + (t - t0) * {plan.block} + {self.row})"
        kind = {"float": "vf", "int": "vi", "bool": "vb"}[tensor.dtype.kind]
        return (text if kind == "vf" else f"(VI){text}"), kind

    def _tensor(self, arg: Arg) -> tuple[str, Type]:
        roles = self.plan.roles
        tensor = roles.tensors[roles.names[arg.number]]
        offset, vectors, inside = [], [], []
        for at, step, size in zip(
            strides.coordinates(tensor, arg).values(), tensor.strides, tensor.shape, strict=True
        ):
            text, kind, _ = self.statements.value(at)
            if not strides.within(at, size, roles.kernel.extents):
                inside.append((text, kind, size))
                text = _clamped(text, kind, size)
            if kind == "vi":
                vectors.append((at, text, step))
            elif text != "0" and step:
                offset.append(f"(long){text} * {step}")
        base = " + ".join([f"in_{arg.number}", *offset])
        kind = {"float": "f", "int": "i", "bool": "b"}[tensor.dtype.kind]
        return _guarded(self._loaded(base, vectors, kind, arg), inside)

    def _loaded(
        self, base: str, vectors: list[tuple[Scalar, str, int]], kind: Type, arg: Arg
    ) -> tuple[str, Type]:
        plan, roles = self.plan, self.plan.roles
        if not vectors:
            return (f"ls({base})" if kind == "f" else f"(int)ls({base})"), kind
        rows = plan.extent(roles.rows)
        tensor = roles.tensors[roles.names[arg.number]]
        if len(vectors) == 1 and vectors[0][0] == Index(roles.rows):
            step = vectors[0][2]
            if step == 1 and tensor.dtype.name == "f32" and rows % plan.block == 0:
                text = f"ld({base} + first + {self.row})"
            else:
                text = f"gather({base}, {step}, first + {self.row}, {rows})"
        else:
            text = f"gather_at({base}, {' + '.join(f'{t} * {s}' for _, t, s in vectors)})"
        if kind == "f":
            return text, "vf"
        return (f"({text} != 0)", "vb") if kind == "b" else (f"toint({text})", "vi")


def _clamped(text: str, kind: Type, size: int) -> str:
    if kind == "vi":
        return f"({text} < 0 ? splati(0) : {text} > {size - 1} ? splati({size - 1}) : {text})"
    return f"({text} < 0 ? 0 : {text} > {size - 1} ? {size - 1} : {text})"


def _guarded(read: tuple[str, Type], inside: list[tuple[str, Type, int]]) -> tuple[str, Type]:
    """Zero outside a tensor."""
    text, kind = read
    for at, of, size in inside:
        if of == "vi":
            zero = "V{}" if kind == "vf" else "VI{}"
            text = f"(({at} >= 0) & ({at} < {size}) ? {text} : {zero})"
        elif kind.startswith("v"):
            zero = "V{}" if kind == "vf" else "VI{}"
            text = f"({at} >= 0 && {at} < {size} ? {text} : {zero})"
        else:
            text = f"({at} >= 0 && {at} < {size} ? {text} : 0)"
    return text, kind


def place(plan: Plan, name: str) -> str:
    """A state or a row of repairs in scratch memory, as C++ text."""
    offset, each = plan.places[name]
    return f"(scratch + {offset}" + (f" + b * {each})" if each else ")")


def phase(plan: Plan, number: int) -> list[str]:
    """One phase over positions ``t0 … t1`` of a tile, open gates from ``o0`` to ``o1``."""
    roles = plan.roles
    components = plan.phases.of_phase(number)
    kept = [(len(roles.names) + i, k) for i, k in enumerate(plan.phases.kept) if k.phase == number]
    rows = [c for c in components if not c.operand]
    if not rows and not kept and not any(c.repair for c in components):
        return []
    wanted = [k.body for _, k in kept] + [plan.phases.leaves[c.name] for c in rows]
    gated = any(roles.opened(w) != bodies.simplify(w) for w in wanted)
    before, loops = [], []
    for opened in (False, True) if gated else (False,):
        change = roles.opened if opened else bodies.simplify
        head, body = _positions(plan, kept, rows, change, "o" if opened else "e")
        before += head
        loops.append(body)
    accumulators = [
        f"V a{roles.components.index(c)}_{v} = splat({literal_of(c.op)});"
        for c in rows
        for v in range(plan.vectors)
    ]
    return [
        f"for (long g = 0; g < {plan.block}; g += {plan.vectors * plan.lanes}) {{",
        *before,
        *accumulators,
        *_ranges(loops),
        *(line for v in range(plan.vectors) for line in _folded(plan, components, v)),
        "}",
    ]


def literal_of(op: Monoid) -> str:
    """The identity of a monoid of numbers."""
    return literal(float(op.identity[0].value))[0]


def _ranges(loops: Sequence[list[str]]) -> list[str]:
    if len(loops) == 1:
        return ["for (long t = t0; t < t1; ++t) {", *loops[0], "}"]
    return [
        "for (int part = 0; part < 3; ++part) {",
        "const long from = part == 0 ? t0 : part == 1 ? o0 : o1;",
        "const long to = part == 0 ? o0 : part == 1 ? o1 : t1;",
        "if (part == 1) for (long t = from; t < to; ++t) {",
        *loops[1],
        "} else for (long t = from; t < to; ++t) {",
        *loops[0],
        "}",
        "}",
    ]


def _positions(
    plan: Plan,
    kept: Sequence[tuple[int, object]],
    rows: Sequence[Component],
    change: Callable[[Scalar], Scalar],
    prefix: str,
) -> tuple[list[str], list[str]]:
    """What precedes the loop over positions, and its body."""
    before: list[str] = []
    inside: list[str] = []
    for v in range(plan.vectors):
        block = Block(plan, v, plan.roles.stream, prefix)
        s = block.statements
        stores, adds = [], []
        for number, k in kept:
            value = s.vector(change(k.body))  # type: ignore[attr-defined]
            block.hold(number, value, 2)
            if plan.phases.buffer(number) == _held_in(plan, change(k.body)):  # type: ignore[attr-defined]
                continue
            where = f"tile_{plan.phases.buffer(number)} + (t - t0) * {plan.block} + {block.row}"
            stores.append(f"st({where}, {value});")
        for c in rows:
            a = f"a{plan.roles.components.index(c)}_{v}"
            value = s.vector(change(plan.phases.leaves[c.name]))
            quick = carried_by_sums(plan.phases, c)
            adds.append(f"{a} = {f'larger({a}, {value})' if quick else combined(c.op, a, value)};")
        before += [*s.lines[0], *s.lines[1]]
        inside += [*s.lines[2], *stores, *adds]
    return before, inside


def _held_in(plan: Plan, body: Scalar) -> int:
    """The tile that holds `body` already, or -1."""
    return (
        plan.phases.buffer(body.number)
        if isinstance(body, Arg) and plan.phases.is_tile(body)
        else -1
    )


def _folded(plan: Plan, components: Sequence[Component], v: int) -> list[str]:
    """States brought up to date by what one vector of rows has accumulated."""
    block = Block(plan, v, plan.roles.stream, "f")
    s, lines = block.statements, block.statements.lines[1]
    names = plan.roles.names
    for c in components:
        state = f"{place(plan, c.name)} + {block.row}"
        old = f"{place(plan, c.name + chr(39))} + {block.row}"
        if c.operand:
            if c.repair is not None:
                lines.append(f"st({old}, {s.vector(c.repair)});")
            continue
        held = s.named(f"ld({state})", "vf", 1)
        block.hold(names.index(c.name + "'"), held, 1)
        lines.append(f"st({old}, {held});")
        if c.repair is not None:
            held = s.vector(c.repair)
        a = f"a{plan.roles.components.index(c)}_{v}"
        new = s.named(combined(c.op, held, a), "vf", 1)
        lines.append(f"st({state}, {new});")
        block.hold(names.index(c.name), new, 1)
    return [*s.lines[0], *lines]


def finish(plan: Plan) -> list[str]:
    """Outputs of a block of rows, made of its states."""
    roles, lines = plan.roles, []
    out = place(plan, "out")
    for i, (tensor, body) in enumerate(roles.outputs):
        inner = next((n for n in tensor.axes if n in {c.inner for c in roles.components}), "")
        count = plan.extent(inner) if inner else 1
        lines.append(f"for (long g = 0; g < {plan.block}; g += {plan.lanes}) {{")
        block = Block(plan, 0, inner, "w")
        value = block.statements.vector(hoisted(body, inner, roles.axes))
        level = block.statements.lines
        lines += [*level[0], *level[1], f"for (long t = 0; t < {count}; ++t) {{", *level[2]]
        lines += [f"st({out} + t * {plan.block} + g, {value});", "}", "}"]
        strides = dict(zip(tensor.axes, tensor.strides, strict=True))
        offset = [
            f"(long)c_{roles.outer.index(n)} * {strides[n]}" for n in roles.outer if n in strides
        ]
        target = " + ".join([f"out_{i}", *offset, f"first * {strides[roles.rows]}"])
        shape = f"{strides[roles.rows]}, {strides.get(inner, 0)}, {count}, {plan.block}"
        lines.append(f"unpack<{shape}>({out}, {target}, last - first + 1);")
    return lines


def hoisted(body: Scalar, inner: str, axes: Sequence[tuple[str, ...]]) -> Scalar:
    """Division by what is the same along the inner axis becomes a product with its reciprocal."""
    if not isinstance(body, Apply):
        return body
    args = tuple(hoisted(a, inner, axes) for a in body.args)
    if body.op == "div":
        above, below = (bodies.varies(a, axes) for a in args)
        if inner in above and inner not in below:
            return Apply("mul", (args[0], Apply("recip", (args[1],))))
    return Apply(body.op, args)
