"""Streamed folds in each of their two forms, whichever the price would choose.

Online, the stream passes in blocks and what was folded is repaired when a maximum moves; in two
passes, the whole stream of a few rows lies in a tile, and nothing is repaired.  The memory of both
is linear in the length of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maquette.bench import framework
from maquette.bench.contest import Contender
from maquette.compiler.kernel import Kernel
from maquette.compiler.pipeline import Passes, Strategy
from maquette.compiler.processor import Processor
from maquette.compiler.tile import stream
from maquette.compiler.tiling import Candidate
from maquette.errors import Fault, NotYet
from maquette.price.kernel import seconds
from maquette.price.kernel_values import value_price
from maquette.run.measured import processor

# By what they are called here, the note by which their tilings are known.
FORMS: Mapping[str, str] = {"online": "online", "two passes": "whole stream"}


def formed(form: str, function: Callable[..., Any], inputs: Sequence[Any]) -> framework.Make:
    """The function compiled by Maquette with streamed folds in one form.

    It fails with NotYet where a function takes more than such folds.
    """

    def make() -> Contender:
        host = processor()
        passes = Passes(host, (only(FORMS[form]),), seconds, value_price(host))
        found = framework.passed(passes, function, inputs)()
        if found.priced is None:
            raise NotYet(Fault(form, "is no form of it: it is no streamed fold alone"))
        return found

    return make


def only(note: str) -> Strategy:
    """The tilings of streamed folds that carry a note."""

    def strategy(kernel: Kernel, host: Processor) -> Sequence[Candidate]:
        return [c for c in stream.candidates(kernel, host) if note in c.tiling.notes]

    return strategy
