"""Results of maps into outputs: side by side across lanes, or transposed in registers first.

Where neighbours in memory are not the lanes but iterations that go at once, as many of them as
there are lanes make a square, which is transposed and stored by its other side.
"""

from __future__ import annotations

from collections.abc import Sequence

from maquette.compiler.tile.nest import Step
from maquette.run.cpp.rows_state import Instance, State
from maquette.run.cpp.vector_code import Val
from maquette.run.cpp.vector_index import Affine
from maquette.run.cpp.vector_memory import Place, store

Made = tuple[Instance, Val]


def put_out(s: State, step: Step, name: str, made: Sequence[Made]) -> None:
    """Store all instances of a result to the output `name`."""
    tensor = s.tensors[name]
    (result,) = step.results
    axes = tensor.axes if set(tensor.axes) <= set(result.axes) else result.axes
    place = s.tensor(tensor)

    def coordinates(at: Instance) -> list[Affine]:
        return [s.coordinate(a, at).at for a in axes]

    for square in _squares(s, place, made, [place.address(coordinates(at)) for at, _ in made]):
        if len(square) == s.w.lanes:
            _store_square(s, place, square, [coordinates(at) for at, _ in square])
            continue
        for at, value in square:
            store(s.w, place, coordinates(at), value, s.active(at), s.how.get(name, ""))


def _squares(
    s: State, place: Place, made: Sequence[Made], addresses: Sequence[Affine]
) -> list[list[Made]]:
    """Runs of as many instances as lanes that are neighbours in memory; the others alone."""
    width = s.w.lanes
    found: list[list[Made]] = []
    left = list(range(len(made)))
    while left:
        first = left[0]
        run = [first]
        if place.kind == "float" and addresses[first].stride not in (0, 1):
            for i in left[1:]:
                gap = addresses[i] - addresses[run[-1]]
                if not gap.terms and gap.const == 1 and len(run) < width:
                    run.append(i)
        if len(run) < width:
            run = [first]
        found.append([made[i] for i in run])
        left = [i for i in left if i not in run]
    return found


def _store_square(
    s: State, place: Place, square: Sequence[Made], coordinates: Sequence[Sequence[Affine]]
) -> None:
    values = ", ".join(s.w.vector(s.w.floats(v)) for _, v in square)
    name = s.w.name("q")
    s.w.line(f"V {name}[LANES] = {{{values}}};")
    s.w.line(f"transpose({name});")
    address = place.address(coordinates[0])
    active = s.active(square[0][0])
    for i in range(s.w.lanes if active is None else active):
        at = address.uniform + address.stride * i
        s.w.line(f"st({place.base} + {at.text}, {name}[{i}]);")
