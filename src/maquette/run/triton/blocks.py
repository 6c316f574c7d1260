"""Blocks: what a program of the grid holds, how tensors are read into it and written from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from maquette.compiler.kernel import Kernel, Stage, Tensor
from maquette.ir.scalar import Arg, Index, Scalar
from maquette.run.triton.bodies import expression
from maquette.run.triton.roles import Roles, axes_of, free_axes

Dims = tuple[str, ...]


@dataclass(eq=False)
class Blocks:
    """The variables of a program so far."""

    kernel: Kernel
    roles: Roles
    held: dict[str, tuple[str, Dims]] = field(default_factory=dict)  # result → variable, dimensions
    functions: list[str] = field(default_factory=list)  # combines of monoids
    made: int = 0
    before: list[str] | None = None  # inside the loop: the lines before it
    lines: dict[str, str] = field(default_factory=dict)  # text → the variable that holds it

    def __post_init__(self) -> None:
        self.known = axes_of(self.kernel)
        self.tensors = {t.name: t for t in self.kernel.inputs}
        both = (*self.kernel.inputs, *self.kernel.outputs)
        self.pointers = {id(t): f"p{i}" for i, t in enumerate(both)}

    def name(self, like: str) -> str:
        """A fresh variable."""
        self.made += 1
        return f"v{self.made}_{''.join(c if c.isalnum() else '_' for c in like)}"

    def dims(self, axes: set[str]) -> Dims:
        """The dimensions of a block that varies along `axes`."""
        return tuple(a for a in self.roles.blocks if a in axes)

    def free(self, body: Scalar, stage: Stage) -> set[str]:
        """The axes along which a body of a stage varies."""
        return free_axes(body, stage, self.known)

    def shape(self, dims: Dims) -> str:
        """The shape of a block as text."""
        return "(" + ", ".join(str(self.roles.blocks[a]) for a in dims) + ("," * bool(dims)) + ")"

    def text(
        self, body: Scalar, stage: Stage, dims: Dims, also: dict[int, str] | None = None
    ) -> str:
        """A body over a block with these dimensions; `also` names operands that are not reads."""

        def read(arg: Arg) -> str:
            if also is not None:
                return also[arg.number]
            return self.read(arg, stage, dims)

        return expression(body, read, lambda a: self.coordinate(a, dims), {})

    def coordinate(self, axis: str, dims: Dims) -> str:
        """The coordinates along an axis, shaped for a block."""
        return self.spread(f"i_{axis}", (axis,) if axis in self.roles.blocks else (), dims)

    def spread(self, variable: str, dims: Dims, into: Dims) -> str:
        """A block with some dimensions as one with more, in another order where it must."""
        ordered = tuple(a for a in into if a in dims)
        if ordered != dims:
            variable = f"tl.permute({variable}, {tuple(dims.index(a) for a in ordered)})"
        if not dims or ordered == into:
            return variable
        return f"{variable}[{', '.join(':' if a in dims else 'None' for a in into)}]"

    def read(self, arg: Arg, stage: Stage, dims: Dims) -> str:
        """A tensor, or the result of a stage, over a block."""
        name = stage.reads[arg.number]
        if name in self.held:
            variable, own = self.held[name]
            return self.spread(variable, own, dims)
        tensor = self.tensors[name]
        placed = dict(arg.at)
        where = {a: placed.get(a, Index(a)) for a in tensor.axes}
        texts = {a: self.text(i, stage, dims) for a, i in where.items()}
        mask = [
            m
            for a, n in zip(tensor.axes, tensor.shape, strict=True)
            for m in self._inside(where[a], texts[a], n)
        ]
        loaded = self._load(tensor, texts, mask)
        narrow = tensor.dtype.kind == "float" and tensor.dtype.name != "f32"
        return f"{loaded}.to(tl.float32)" if narrow else loaded

    def _inside(self, index: Scalar, text: str, extent: int) -> list[str]:
        """Tests that a coordinate is inside a tensor, those that can fail."""
        if isinstance(index, Index):
            reach = self._reach(index.axis)
            return [f"({text} < {extent})"] if reach > extent else []
        return [f"({text} >= 0)", f"({text} < {extent})"]

    def _reach(self, axis: str) -> int:
        """One past the largest coordinate that a block along an axis holds."""
        n, step = self.kernel.extents[axis], self.roles.blocks.get(axis, 1)
        return -(-n // step) * step

    def _load(self, tensor: Tensor, texts: dict[str, str], mask: list[str]) -> str:
        pointer = f"{self.pointers[id(tensor)]} + {_offset(tensor, texts)}"
        inside = " & ".join(mask)
        if "tl.load" in inside:  # tests of loaded scalars are of another type when interpreted
            inside = f"(({inside}) != 0)"
        other = f", mask={inside}, other=0" if mask else ""
        loaded = f"tl.load({pointer}{other})"
        if tensor.dtype.kind == "bool":
            loaded = f"({loaded} != 0)"
        if self.before is None or self._moves(loaded):
            return loaded
        if loaded not in self.lines:  # what the loop does not move is loaded before it
            self.lines[loaded] = self.name(tensor.name)
            self.before.append(f"{self.lines[loaded]} = {loaded}")
        return self.lines[loaded]

    def _moves(self, text: str) -> bool:
        """Whether a text names what the loop changes."""
        inside = [f"i_{self.roles.stream}", *(v for v, _ in self.held.values())]
        return any(name in text for name in inside)

    def once(self, lines: list[str], text: str, like: str) -> str:
        """A variable that holds `text`; a line is added unless one holds it already."""
        key = f"{self.before is None}: {text}"
        if key not in self.lines:
            self.lines[key] = self.name(like)
            lines.append(f"{self.lines[key]} = {text}")
        return self.lines[key]

    def overhang(self, axis: str, dims: Dims) -> str | None:
        """A test for the part of a block that is inside its axis, where not all of it is."""
        n = self.kernel.extents[axis]
        if self._reach(axis) == n:
            return None
        return f"({self.coordinate(axis, dims)} < {n})"

    def stores(self) -> list[str]:
        """The writes of a program's outputs."""
        lines = []
        for tensor in self.kernel.outputs:
            variable, own = self.held[tensor.name]
            axes = self.known[tensor.name]
            dims = self.dims(set(axes))
            texts = {t: self.coordinate(a, dims) for t, a in zip(tensor.axes, axes, strict=True)}
            mask = [m for a in dims if (m := self.overhang(a, dims))]
            value = self.spread(variable, own, dims)
            if dims and own != dims:
                value = f"tl.broadcast_to({value}, {self.shape(dims)})"
            if tensor.dtype.kind == "bool":
                value = f"({value}).to(tl.int8)"
            pointer = f"{self.pointers[id(tensor)]} + {_offset(tensor, texts)}"
            tail = f", mask={' & '.join(mask)}" if mask else ""
            lines.append(f"tl.store({pointer}, {value}{tail})")
        return lines


def _offset(tensor: Tensor, texts: dict[str, str]) -> str:
    terms = [str(tensor.offset)] if tensor.offset else []
    for a, stride in zip(tensor.axes, tensor.strides, strict=True):
        if stride:
            terms.append(f"({texts[a]})" + (f" * {stride}" if stride != 1 else ""))
    return " + ".join(terms) or "0"
