"""Maquette: model a foundation model, a machine and its traffic before you buy the big one.

    >>> import maquette as mq
    >>> mq.__version__.count(".")
    2

Importing the package imports nothing else; each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public name → the module that holds it.  No name may be that of a subpackage.
_HOME = {
    "Fault": "maquette.errors",
    "InputError": "maquette.errors",
    "MaquetteError": "maquette.errors",
    "UnknownName": "maquette.errors",
    "Mesh": "maquette.plans.types",
    "Plan": "maquette.plans.types",
    "Policy": "maquette.plans.types",
    "Precision": "maquette.plans.types",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'maquette' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
