"""Running the command line inside the test's process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from maquette.cli.main import main


@dataclass(frozen=True)
class Called:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout; infinities and NaN are refused."""

        def refuse(word: str) -> Any:
            raise AssertionError(f"{word} in a document")

        return json.loads(self.out, parse_constant=refuse)


def call(*arguments: object) -> Called:
    done = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    return Called(done.exit_code, done.stdout, done.stderr)


def succeed(*arguments: object) -> Called:
    done = call(*arguments)
    assert done.code == 0, done.err
    return done
