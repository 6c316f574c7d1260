"""The words of the printed form, and a cursor over those of one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from maquette.errors import Fault, nearest
from maquette.ir.text import RESERVED

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#.*)
    |(?P<handle>%[\w.]+)
    |(?P<slot>\$\d+)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<number>\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)
    |(?P<name>[^\W\d][\w.]*)
    |(?P<sign>==|!=|<=|>=|//|[-+*/<>&|(){}\[\],:=^@])
    |(?P<odd>.)""",
    re.VERBOSE,
)

T = TypeVar("T")


class Failure(Exception):
    """The fault that ends the reading of a line."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True)
class Token:
    """A word of a line and where it starts, counted from 1."""

    kind: str
    text: str
    column: int


def lines(text: str) -> Iterator[Cursor]:
    """A cursor for every line that has words."""
    for number, content in enumerate(text.split("\n"), 1):
        found = _TOKEN.finditer(content)
        tokens = [Token(m.lastgroup or "", m.group(), m.start() + 1) for m in found]
        words = [t for t in tokens if t.kind != "space"]
        if words:
            yield Cursor(number, words, len(content.rstrip()) + 1)


class Cursor:
    """A position in the tokens of one line."""

    def __init__(self, number: int, tokens: list[Token], end: int) -> None:
        self._number = number
        self._tokens = [*tokens, Token("end", "", end)]
        self._place = 0

    @property
    def token(self) -> Token:
        return self._tokens[self._place]

    def peek(self, ahead: int = 0) -> str:
        """The text of a token to come; empty past the end of the line."""
        return self._tokens[min(self._place + ahead, len(self._tokens) - 1)].text

    def count(self, text: str) -> int:
        """How many of the tokens to come are `text`."""
        return sum(t.text == text for t in self._tokens[self._place :])

    def more(self) -> bool:
        return self.token.kind != "end"

    def next(self) -> str:
        text = self.token.text
        self._place += self.more()
        return text

    def back(self) -> None:
        self._place -= 1

    def fail(self, expected: str, hint: str = "") -> NoReturn:
        found = f"found {self.token.text!r}" if self.more() else "the line ends"
        where = f"line {self._number}, column {self.token.column}"
        raise Failure(Fault(where, found, expected, hint))

    def accept(self, text: str) -> bool:
        """Take the token if it is `text`; a quoted name is never a word of the language."""
        same = self.token.text == text and self.token.kind != "string"
        if same:
            self.next()
        return same

    def take(self, text: str) -> None:
        if not self.accept(text):
            self.fail(repr(text))

    def end(self) -> None:
        if self.more():
            self.fail("the end of the line")

    def handle(self) -> str:
        if self.token.kind != "handle":
            self.fail("a value such as %3")
        return self.next()

    def name(self) -> str:
        if self.token.kind == "string":
            return self.string()
        if self.token.kind != "name":
            self.fail("a name")
        if self.token.text in RESERVED:
            self.fail("a name", f'a word of the language: write "{self.token.text}" in quotes')
        return self.next()

    def string(self) -> str:
        try:
            return str(json.loads(self.token.text))
        except json.JSONDecodeError:
            self.fail("a quoted name with JSON escapes")
        finally:
            self.next()

    def integer(self) -> int:
        if not self.token.text.isdecimal():
            self.fail("a whole number")
        return int(self.next())

    def one_of(self, known: Collection[str], kind: str) -> str:
        at = self._place
        name = self.name()
        if name not in known:
            self._place = at
            self.fail(f"a {kind}", nearest(name, known))
        return name

    def listed(self, item: Callable[[Cursor], T]) -> list[T]:
        """One or more items with commas between."""
        found = [item(self)]
        while self.accept(","):
            found.append(item(self))
        return found
