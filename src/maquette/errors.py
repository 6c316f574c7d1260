"""One error tree.  A fault says what was wrong, where, what was expected and what to try."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input."""

    where: str  # a path into the input: "h100.toml: tiers.hbm.bandwidth", "trace.csv: row 7"
    what: str  # what is wrong
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.expected:
            text += f"; expected {self.expected}"
        if self.hint:
            text += f" ({self.hint})"
        return text


class MaquetteError(Exception):
    """Base of every error a user can cause.  Carries all faults found, not only the first.

    The command line prints each fault and exits with code 2.
    """

    def __init__(self, *faults: Fault | str) -> None:
        self.faults = tuple(f if isinstance(f, Fault) else Fault("", f) for f in faults)
        super().__init__("\n".join(map(str, self.faults)))


class InputError(MaquetteError):
    """A file, an option or an argument is malformed, contradictory or out of range."""


class UnknownName(MaquetteError):
    """A name that nothing answers to."""

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        names = sorted(known)
        super().__init__(Fault(where, f"unknown {kind} {name!r}", hint=nearest(name, names)))


class ProgramError(MaquetteError):
    """A Program that does not verify."""


class NotYet(MaquetteError):
    """Something this version does not do, said plainly."""


def together(*asks: Callable[[], Any]) -> list[Any]:
    """What each call returns; where some fail, one error with the faults of all of them.

    >>> together(lambda: 1, lambda: "a")
    [1, 'a']
    """
    found: list[Any] = []
    errors: list[MaquetteError] = []
    for ask in asks:
        try:
            found.append(ask())
        except MaquetteError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputError(*dict.fromkeys(f for e in errors for f in e.faults))
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the closest known names.

    >>> nearest("h10", ["h100", "a100"])
    'did you mean h100?'
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names[:40])}{', …' if len(names) > 40 else ''}"
