"""Recurrences a chunk at a time: a contraction inside each chunk, a scan of what chunks carry.

A scan over s positions becomes a scan over s/L chunks, and what reads out its state becomes
products of matrices of L rows.  A last chunk that is not full reads noughts past the end, which
add nothing; decays are one there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maquette.ir.axes import Axis, axis
from maquette.ir.build import Tensor, apply, dot, exp, iota, reduce, scan, where
from maquette.ir.monoids import ADD, AFFINE, MUL, Monoid
from maquette.ir.patterns import Map, make
from maquette.ir.scalar import Apply, Arg, Index, Lit, Scalar

INF = float("inf")


@dataclass(frozen=True)
class Chunks:
    """An axis cut into chunks of `length`: which chunk, where in it, and where in it from."""

    axis: str
    size: int
    length: int

    @property
    def count(self) -> int:
        return -(-self.size // self.length)

    @property
    def chunk(self) -> str:
        return f"{self.axis}.chunk"

    @property
    def place(self) -> str:
        return f"{self.axis}.place"

    @property
    def source(self) -> str:
        return f"{self.axis}.source"

    def cut(self, x: Tensor, along: str, place: str) -> Tensor:
        """`x` with the axis `along`, if it has it, as chunks and places in them."""
        if not any(a.name == along for a in x.axes):
            return x
        if self.size % self.length == 0:
            return x.split(along, **{self.chunk: self.count, place: self.length})
        at = Apply("add", (Apply("mul", (Index(self.chunk), Lit(self.length))), Index(place)))
        cut = (axis(self.chunk, self.count), axis(place, self.length))
        axes = tuple(b for a in x.axes for b in (cut if a.name == along else (a,)))
        return _read(x, axes, ((along, at),))

    def joined(self, x: Tensor, axes: Sequence[Axis]) -> Tensor:
        """Chunks end to end again, over `axes`."""
        if self.size % self.length == 0:
            whole = x.merge(self.chunk, self.place, into=self.axis)
            return whole if whole.axes == tuple(axes) else _read(whole, tuple(axes), ())
        here, length = Index(self.axis), Lit(self.length)
        at = (
            (self.chunk, Apply("floordiv", (here, length))),
            (self.place, Apply("mod", (here, length))),
        )
        return _read(x, tuple(axes), at)

    def here(self, x: Tensor) -> Tensor:
        return self.cut(x, self.axis, self.place)

    def there(self, x: Tensor, along: str = "") -> Tensor:
        return self.cut(x, along or self.axis, self.source)

    def end(self, x: Tensor) -> Tensor:
        """What `x` is at the last place of every chunk."""
        return x.at(**{self.place: self.length - 1})

    def before(self, x: Tensor) -> Tensor:
        """What `x` is in the chunk before; nought in the first."""
        return _read(x, x.axes, ((self.chunk, Apply("sub", (Index(self.chunk), Lit(1)))),))

    def final(self, x: Tensor) -> Tensor:
        """What `x` is in the last chunk."""
        return x.at(**{self.chunk: self.count - 1})

    def past(self, strictly: bool = False) -> Tensor:
        """Whether the source is no later than the place."""
        source, place = iota(self.source, self.length), iota(self.place, self.length)
        return source < place if strictly else source <= place


def _read(x: Tensor, axes: tuple[Axis, ...], at: tuple[tuple[str, Scalar], ...]) -> Tensor:
    return Tensor(make(Map, axes=axes, dtype=x.value.dtype, args=(x.value,), body=Arg(0, at)))


@dataclass(frozen=True)
class Decay:
    """How a state fades: from a source to a place, to the end of the chunk, over all of it."""

    between: Tensor | None  # None: it does not
    since_start: Tensor | None
    to_end: Tensor | None
    whole: Tensor | None

    def to(self, x: Tensor, which: Tensor | None) -> Tensor:
        return x if which is None else x * which


STEADY = Decay(None, None, None, None)


def by_exponents(c: Chunks, g: Tensor) -> Decay:
    """Decays exp(g): differences of running sums, never quotients of products."""
    running = scan(ADD, c.place, c.here(g))[0]
    source = running.rename(**{c.place: c.source})
    end = c.end(running)
    between = exp(where(c.past(), running - source, -INF))
    return Decay(between, exp(running), exp(end - source), exp(end))


def by_products(c: Chunks, a: Tensor) -> Decay:
    """Decays of any sign: running products from every source."""
    here = c.here(a)
    if c.size % c.length:
        inside = iota(c.chunk, c.count) * c.length + iota(c.place, c.length) < c.size
        here = where(inside, here, 1.0)
    running = scan(MUL, c.place, here)[0]
    later = iota(c.place, c.length) > iota(c.source, c.length)
    products = scan(MUL, c.place, where(later, here, 1.0))[0]
    between = where(c.past(), products, 0.0)
    return Decay(between, running, c.end(products), c.end(running))


def carried(c: Chunks, decay: Decay, inner: Tensor, outer: Tensor | None) -> Tensor:
    """The state after every chunk, of ``inner · outer`` put in at every source."""
    weight = decay.to_end if outer is None else decay.to(outer, decay.to_end)
    put_in = inner.sum(c.source) if weight is None else dot(weight, inner, c.source)
    if decay.whole is None:
        return scan(ADD, c.chunk, put_in)[0]
    return scan(AFFINE, c.chunk, decay.whole, put_in)[1]


def read_out(
    c: Chunks,
    decay: Decay,
    query: Tensor,
    inner: Tensor,
    outer: Tensor | None,
    over: Sequence[str],
    strictly: bool = False,
) -> Tensor:
    """Σ over `over` of query · state, the state being made of ``inner · outer``, by chunks."""
    scores = dot(query, inner, *over) if over else query * inner
    if decay.between is None:
        scores = where(c.past(strictly), scores, 0.0)
    else:
        scores = scores * decay.between
    near = scores.sum(c.source) if outer is None else dot(scores, outer, c.source)
    state = c.before(carried(c, decay, inner, outer))
    far = dot(query, state, *over) if over else query * state
    return near + decay.to(far, decay.since_start)


def states(c: Chunks, monoid: Monoid, args: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Every prefix of a scan with any monoid: prefixes inside chunks after what was carried."""
    padded = [_padded(c, x, monoid, i) for i, x in enumerate(args)]
    local = scan(monoid, c.place, *padded)
    through = scan(monoid, c.chunk, *map(c.end, local))
    first = apply("eq", iota(c.chunk, c.count), 0)
    before = [
        where(first, _as(identity, x), c.before(x))
        for identity, x in zip(monoid.identity, through, strict=True)
    ]
    both = [*before, *local]
    return tuple(_applied(body, both) for body in monoid.combine)


def _padded(c: Chunks, x: Tensor, monoid: Monoid, i: int) -> Tensor:
    here = c.here(x)
    identity = monoid.identity[i].value
    if c.size % c.length == 0 or identity == 0:
        return here
    inside = iota(c.chunk, c.count) * c.length + iota(c.place, c.length) < c.size
    return where(inside, here, identity)


def _as(identity: Lit, like: Tensor) -> Tensor:
    """An identity, in the format of a component."""
    body = Lit(float(identity.value)) if like.value.dtype.kind == "float" else identity
    return Tensor(make(Map, axes=(), dtype=like.value.dtype, args=(), body=body))


def _applied(body: Scalar, operands: Sequence[Tensor]) -> Tensor:
    match body:
        case Arg(number):
            return operands[number]
        case Apply(op, args):
            return apply(op, *(_applied(a, operands) for a in args))
        case Lit(value):
            return _as(Lit(value), operands[0])
    raise TypeError(f"no combine reads {type(body).__name__}")


def spread(x: Tensor, ax: Axis) -> Tensor:
    """`x` with an axis along which it does not vary, if it lacks it."""
    if any(a.name == ax.name for a in x.axes):
        return x
    return _read(x, (*x.axes, ax), ())


def total(over: Sequence[str], x: Tensor) -> Tensor:
    """The sum over those of `over` along which `x` varies."""
    held = tuple(n for n in over if any(a.name == n for a in x.axes))
    return reduce(ADD, held, x)[0] if held else x
