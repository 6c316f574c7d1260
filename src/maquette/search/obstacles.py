"""Why nothing that was asked for can be, in the words of a single deployment."""

from __future__ import annotations

from maquette.catalogue import calibrations, engines
from maquette.errors import Fault, InputError
from maquette.plans.legality import PRECISIONS, adjusted
from maquette.search.deployment import deploy
from maquette.search.plan import tried
from maquette.search.types import Answer


def obstacles(answer: Answer) -> list[Fault]:
    """Why no plan that was asked for fits, and what is short; [] if some plan does."""
    question = answer.question
    if answer.interrupted or answer.outcomes:
        return []
    found: list[Fault] = []
    stacks = ((s, name, fmt) for s, name, formats in tried(question) for fmt in formats)
    for where, name, fmt in stacks:
        chosen = engines.engine(name)
        cal = calibrations.find(where.machine, name, question.calibrations)
        policy = adjusted(engines.policy(chosen, where.machine), question.policy)
        try:
            deploy(
                question.model, where, chosen, cal, wish=question.wish, policy=policy,
                precision=PRECISIONS[fmt], replicas=question.replicas,
            )  # fmt: skip
        except InputError as error:
            found += [f for f in error.faults if f not in found]
        else:
            return []
    return found
