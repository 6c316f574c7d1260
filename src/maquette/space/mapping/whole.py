"""A whole program on the sockets of one machine: every part mapped, layers on one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from maquette.ir.facts import parameters, state_size
from maquette.ir.graph import Program
from maquette.machines.types import Machine
from maquette.plans.types import Infeasible
from maquette.space.mapping.part import part
from maquette.space.mapping.sections import Options, mapped
from maquette.space.mapping.types import Mapped


@dataclass(frozen=True)
class Whole:
    """Parts of a program, how often each runs in a step, and the seconds of the step."""

    program: str
    machine: str
    sockets: int
    parts: Mapping[str, Mapped]
    times: Mapping[str, int]

    @property
    def seconds(self) -> float:
        return sum(self.times[n] * m.seconds for n, m in self.parts.items())

    @property
    def sections(self) -> int:
        """Launches in a step: sections, as often as they run."""
        return sum(self.times[n] * len(m.sections) for n, m in self.parts.items())


def mapped_program(
    program: Program,
    sizes: Mapping[str, int],
    machine: Machine,
    sockets: int = 1,
    options: Options | None = None,
) -> Whole | Infeasible:
    """One step of `program` at `sizes`, or what keeps it from running.

    Weights and states must fit the tiers that `options` keep them in, 2 bytes an element.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.catalogue.models import model
    >>> from maquette.models.decoder import program
    >>> small = program(model("qwen2.5-0.5b"))
    >>> found = mapped_program(small, {"b": 1, "s": 1, "t": 64}, machine("sn40l"))
    >>> found.sections  # an embedding, 24 layers on one configuration, a head
    26
    """
    asked = options or Options()
    context = sizes.get("t", 1)
    sizes = {n: min(w, context) for n, w in program.windows.items()} | dict(sizes)
    if (short := stored(program, sizes, machine, sockets, asked)) is not None:
        return short
    found: dict[str, Mapped] = {}
    for name, times in program.times.items():
        one = part(program.parts[name], sizes, sockets)
        made = mapped(one, machine, replace(asked, repeats=times))
        if isinstance(made, Infeasible):
            return made
        found[name] = made
    return Whole(program.name, machine.name, sockets, found, dict(program.times))


def stored(
    program: Program, sizes: Mapping[str, int], machine: Machine, sockets: int, options: Options
) -> Infeasible | None:
    """What weights and states lack in the tiers that `options` keep them in, 2 bytes an element."""
    held = {"weight": parameters(program), "state": state_size(program)}
    asked: dict[str, float] = {}
    for role, elements in held.items():
        numbers = {**dict.fromkeys(elements.symbols, 1), **sizes}
        tier = options.tiers.get(role, machine.main)
        asked[tier] = asked.get(tier, 0.0) + 2.0 * float(elements(numbers)) / sockets
    for tier, size in asked.items():
        capacity = machine.tiers[tier].capacity
        if capacity is not None and size > capacity.value:
            reason = f"{program.name}: weights and states do not fit {tier}"
            return Infeasible(reason, size - capacity.value, "bytes a socket")
    return None
