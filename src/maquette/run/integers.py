"""Which integers kernels compute rightly: they have 32 bits for those that are stored in 64.

Bounds are propagated through a flow from a bound on what is read, so that one comparison a call
decides whether native code may run.  Loads saturate: coordinates stay outside a table where they
were, and comparisons come out as they should.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, prod

from maquette.compiler.kernel import Flow, Kernel, Stage, Tensor
from maquette.ir.dtypes import DType, Kind
from maquette.ir.scalar import TESTS, Apply, Arg, Extent, Index, Lit, Scalar, kind

WIDEST = 1 << 31  # magnitude that 32 bits hold
_WIDE = ("i32", "i64")
_NARROW = {"int8": 1 << 7, "bool": 1}


@dataclass(frozen=True)
class Integers:
    """How large numbers in the inputs named may be, and what no bound on them would help."""

    most: int  # from -most to below most
    inputs: frozenset[str]
    refused: frozenset[int]  # kernels by their place in the flow


def integers(flow: Flow) -> Integers:
    """The largest bound on integers that are read under which none computed needs more bits.

    >>> from maquette.compiler.fuse.parse import parse_flow
    >>> flow = parse_flow('''
    ... flow squares
    ...   in x i64[n=4] strides 1
    ...   out y i64[n=4] strides 1
    ...
    ... kernel k0
    ...   extent n=4
    ...   in x i64[n] strides 1
    ...   out y i64[n] strides 1
    ...   i64 y[n] = %x * %x
    ... ''')
    >>> found = integers(flow)
    >>> found.most == 1 << 15, sorted(found.inputs)
    (True, ['x'])
    """
    read = {t.name: t.dtype for t in flow.inputs if t.dtype.name in _WIDE}
    if not read and not _computes(flow):
        return Integers(WIDEST, frozenset(), frozenset())
    refused = _Bounds(1).flow(flow)
    powers = (1 << i for i in range(31, 0, -1))
    most = next((m for m in powers if _Bounds(m).flow(flow) == refused), 1)
    found = _Bounds(most)
    found.flow(flow)
    needed = {n for n, d in read.items() if d.name == "i64" or most < WIDEST}
    return Integers(most, frozenset(needed & found.demanded), refused)


def _computes(flow: Flow) -> bool:
    """Whether any kernel makes integers."""
    stages = (s for k in flow.kernels if isinstance(k, Kernel) for s in k.stages)
    return any(r.dtype.kind == "int" for s in stages for r in s.results)


@dataclass
class _Bounds:
    """Magnitudes where those of integers that are read are at most `most`."""

    most: int
    buffers: dict[str, float] = field(default_factory=dict)
    demanded: set[str] = field(default_factory=set)  # buffers whose numbers must be that small

    def flow(self, flow: Flow) -> frozenset[int]:
        """The places of kernels in which numbers need more bits."""
        wrong = set[int]()
        for number, kernel in enumerate(flow.kernels):
            if not isinstance(kernel, Kernel):  # what it picks, and where that was
                sizes = (n for t in kernel.inputs for n in t.shape)
                held = (self.of(t) for t in kernel.inputs if t.dtype.kind == "int")
                bound = max((1, *sizes, *held))
                self.buffers |= {t.buffer: bound for t in _whole(kernel.outputs)}
                continue
            values = {t.name: t for t in kernel.inputs}
            known: dict[str, float] = {}
            for stage in kernel.stages:
                known |= _Stage(self, kernel, stage, values, known).bounds()
            if any(bound > WIDEST for bound in known.values()):
                wrong.add(number)
            self.buffers |= {t.buffer: known[t.name] for t in _whole(kernel.outputs)}
        return frozenset(wrong)

    def of(self, tensor: Tensor) -> float:
        """The bound on numbers in a tensor."""
        return self.buffers.get(tensor.buffer, _NARROW.get(tensor.dtype.name, self.most))


def _whole(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    return (t for t in tensors if t.dtype.kind == "int")


@dataclass
class _Stage:
    """One stage; bounds are infinite where anything on the way may overflow."""

    all: _Bounds
    kernel: Kernel
    stage: Stage
    tensors: Mapping[str, Tensor]
    known: Mapping[str, float]

    def __post_init__(self) -> None:
        dtypes = {n: t.dtype for n, t in self.tensors.items()}
        dtypes |= {r.name: r.dtype for s in self.kernel.stages for r in s.results}
        self.dtypes: Sequence[DType] = [dtypes[n] for n in self.stage.reads]
        self.kinds: Sequence[Kind] = [d.kind for d in self.dtypes]

    def bounds(self) -> dict[str, float]:
        """By result."""
        points = prod(self.kernel.extents[a] for a in self.stage.over)
        found = {}
        for i, result in enumerate(self.stage.results):
            leaf = self.stage.leaves[min(i, len(self.stage.leaves) - 1)]
            bound = self.of(leaf)
            monoid = self.stage.monoid
            if result.dtype.kind != "int":
                bound = 0 if bound <= WIDEST else inf
            elif monoid is not None and monoid.name == "add":
                bound *= points
            elif monoid is not None and monoid.name == "mul" and bound > 1:
                bound = inf
            found[result.name] = bound
        return found

    def of(self, body: Scalar) -> float:
        """The magnitude of a whole number; 0 of others; infinite where one inside overflows."""
        match body:
            case Lit(value):
                return abs(value) if kind(body, ()) == "int" else 0
            case Extent(size):
                return abs(float(size.constant or 0)) if kind(body, ()) == "int" else 0
            case Index(axis):
                return self.kernel.extents.get(axis, 0)
            case Arg(number, at):
                places = [self.coordinate(c) for _, c in at]
                return inf if inf in places else self.read(number)
            case Apply(op, args):
                return self.applied(op, args, kind(body, self.kinds))
        raise TypeError(body)

    def read(self, number: int) -> float:
        """The magnitude of operand `number`, which is asked for."""
        name = self.stage.reads[number]
        if self.kinds[number] == "float":
            return 0
        tensor = self.tensors.get(name)
        if tensor is None:
            return self.known[name]
        self.all.demanded.add(tensor.buffer)
        return self.all.of(tensor)

    def coordinate(self, body: Scalar) -> float:
        """Of a coordinate; one that is read from a tensor saturates, and stays outside."""
        return 0 if isinstance(body, Arg) and not body.at else self.of(body)

    def applied(self, op: str, args: Sequence[Scalar], made: Kind) -> float:
        if op in TESTS:
            args = self.compared(args)
        found = [self.of(a) for a in args]
        if any(f > WIDEST for f in found):
            return inf
        if made != "int":
            return 0
        match op:
            case "add" | "sub":
                return _held(sum(found))
            case "mul":
                return _held(prod(found))
            case "where":
                return max(found[1:])
            case "mod":
                return found[1]
            case "max" | "min":
                return max(found)
        return found[0]  # of its sign, of a quotient, of a conversion

    def compared(self, args: Sequence[Scalar]) -> Sequence[Scalar]:
        """Those whose magnitude matters: not what is read and compared with what is smaller."""
        for one, other in (args, reversed(args)):
            if isinstance(one, Arg) and not one.at and not any(self.wide(other)):
                return (other, other) if self.of(other) < WIDEST - 1 else args
        return args

    def wide(self, body: Scalar) -> Iterator[bool]:
        """Whether each operand of a body is one of many bits."""
        if isinstance(body, Arg):
            yield self.dtypes[body.number].name in _WIDE
        elif isinstance(body, Apply):
            for a in body.args:
                yield from self.wide(a)


def _held(magnitude: float) -> float:
    return magnitude if magnitude <= WIDEST else inf
