"""The compiler of C++ that simulations are given in tests, where this machine has one."""

from __future__ import annotations

from maquette.run.build import build
from maquette.run.source import Source
from maquette.run.toolchain import toolchain


def _compile(symbol, text):
    return build([Source(symbol, text)])[symbol]


COMPILER = None if toolchain() is None else _compile
