"""The laws of a streamed monoid, asked of random values.

Derivation establishes them symbolically; this asks again, numerically, and catches a monoid that
was written, printed or changed wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from maquette.ir.monoids import MAX, MIN, Part, Streamed
from maquette.ir.scalar import Arg, Scalar, reads
from maquette.ir.semantics import Array, Numbers, scalar

_NUMBERS = Numbers({}, np.float64)
_TOLERANCE = 1e-9
State = list[Array]  # one array of samples per component


def laws(monoid: Streamed, rng: np.random.Generator, samples: int = 200) -> tuple[str, ...]:
    """The laws that do not hold, in words; none if the monoid is sound.

    Associativity, identity and commutativity of the whole, and of every repair: that it changes
    nothing where nothing moved, that two steps are one (A3), and that it passes through the
    combine (A2).

    >>> import numpy as np
    >>> from maquette.ir.monoids import ADD, MAX, Part, streamed
    >>> from maquette.ir.scalar import Apply, Arg
    >>> wrong = streamed("wrong", [Part(MAX), Part(ADD, Apply("exp", (Arg(0),)))])
    >>> laws(wrong, np.random.default_rng(0))[0]
    'not associative in component 1'
    """
    a, b, c = (_states(monoid, rng, samples) for _ in range(3))
    neutral = [np.full(samples, float(i.value)) for i in monoid.identity]
    found: list[str] = []
    with np.errstate(all="ignore"):
        join = _joiner(monoid)
        pairs = {
            "not associative": (join(join(a, b), c), join(a, join(b, c))),
            "the identity on the left changes": (join(neutral, a), a),
            "the identity on the right changes": (join(a, neutral), a),
            "two identities do not make one": (join(neutral, neutral), neutral),
        }
        if monoid.commutative:
            pairs["does not commute"] = (join(a, b), join(b, a))
        for what, (left, right) in pairs.items():
            wrong = [i for i, (x, y) in enumerate(zip(left, right, strict=True)) if _differ(x, y)]
            found += [f"{what} in component {i}" for i in wrong]
        for i, part in enumerate(monoid.parts):
            if part.factor is not None or part.shift is not None:
                found += [f"{what} component {i}" for what in _repairs(monoid, i, a, b, c)]
    return tuple(found)


def _states(monoid: Streamed, rng: np.random.Generator, samples: int) -> State:
    """Random components; what is only counted up is positive, as counts and weights are."""
    state = []
    for part in monoid.parts:
        if part.op in (MAX, MIN):
            state.append(rng.normal(size=samples) * 6)
        elif part.factor is None and part.shift is None:
            state.append(rng.uniform(0.5, 3, size=samples))
        else:
            state.append(rng.normal(size=samples) * 2)
    return state


def _joiner(monoid: Streamed) -> Callable[[State, State], State]:
    def join(left: State, right: State) -> State:
        both = [*left, *right]
        return [_value(c, lambda arg: both[arg.number]) for c in monoid.combine]

    return join


def _value(body: Scalar, read: Callable[[Arg], Any]) -> Array:
    return np.asarray(scalar(body, _NUMBERS, read, None), dtype=np.float64)


def _repairs(monoid: Streamed, i: int, a: State, b: State, c: State) -> Iterator[str]:
    """The laws of one repair: a's component, moved to where b is, and from there to where c is."""
    once = _moved(monoid, i, dict(enumerate(a)), b)
    still = _moved(monoid, i, dict(enumerate(a)), a)
    if _differ(still[i], a[i]):
        yield "a repair that goes nowhere changes"
    if _differ(_moved(monoid, i, once, c)[i], _moved(monoid, i, dict(enumerate(a)), c)[i]):
        yield "two repairs are not one (A3) in"
    places, carried = _roles(monoid, i)
    other = {j: a[j] if j in places else c[j] for j in range(monoid.width)}
    both = {j: a[j] for j in places}
    both |= {j: _combined(monoid.parts[j], a[j], other[j]) for j in carried}
    apart = _combined(monoid.parts[i], once[i], _moved(monoid, i, other, b)[i])
    if _differ(_moved(monoid, i, both, b)[i], apart):
        yield "the repair does not pass through the combine (A2) of"


def _roles(monoid: Streamed, i: int) -> tuple[set[int], set[int]]:
    """What component i is repaired by: places that move, and components that move along."""
    n = monoid.width
    numbers = {r.number for b in _bodies(monoid.parts[i]) for r in reads(b)}
    places = {k - n for k in numbers if k >= n}
    carried = {i}
    for j in {k for k in numbers if k < n} - places:
        carried |= _roles(monoid, j)[1]
    return places, carried - places


def _bodies(part: Part) -> list[Scalar]:
    return [b for b in (part.factor, part.shift) if b is not None]


def _moved(monoid: Streamed, i: int, state: Mapping[int, Array], to: State) -> dict[int, Array]:
    """A state whose component i, and what moves along with it, is seen from other places."""
    places, carried = _roles(monoid, i)
    found = {j: to[j] for j in places}
    n = monoid.width
    for j in carried:
        part = monoid.parts[j]

        def read(arg: Arg) -> Array:
            return state[arg.number] if arg.number < n else to[arg.number - n]

        value = state[j]
        if part.factor is not None:
            by = _value(part.factor, read)
            value = by * value if part.action == "mul" else by + value
        if part.shift is not None:
            value = value + _value(part.shift, read)
        found[j] = value
    return found


def _combined(part: Part, left: Array, right: Array) -> Array:
    both = (left, right)
    return _value(part.op.combine[0], lambda arg: both[arg.number])


def _differ(left: Array, right: Array) -> bool:
    scale = 1 + np.maximum(np.abs(left), np.abs(right))
    same = (left == right) | (np.abs(left - right) <= _TOLERANCE * scale)
    return not bool(np.all(same))
