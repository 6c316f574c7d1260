"""Maquette: model a foundation model, a machine and its traffic before you buy the big one.

    >>> import maquette as mq
    >>> mq.Mesh(tp=4, pp=2).devices
    8

Here are the functions of `maquette.api` and the nouns they speak of.  Importing the package loads
none of them; each is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NOUNS = {
    "Fault": "maquette.errors",
    "InputError": "maquette.errors",
    "MaquetteError": "maquette.errors",
    "UnknownName": "maquette.errors",
    "Machine": "maquette.machines.types",
    "System": "maquette.machines.types",
    "Requests": "maquette.traffic.types",
    "ModelConfig": "maquette.models.config",
    "Infeasible": "maquette.plans.types",
    "Mesh": "maquette.plans.types",
    "Plan": "maquette.plans.types",
    "Policy": "maquette.plans.types",
    "Precision": "maquette.plans.types",
    "Trace": "maquette.serve.types",
}

if TYPE_CHECKING:
    from maquette.api import *
    from maquette.errors import Fault, InputError, MaquetteError, UnknownName
    from maquette.machines.types import Machine, System
    from maquette.models.config import ModelConfig
    from maquette.plans.types import Infeasible, Mesh, Plan, Policy, Precision
    from maquette.serve.types import Trace
    from maquette.traffic.types import Requests
else:

    def __getattr__(name: str) -> Any:
        if not name.startswith("_"):
            home = import_module(_NOUNS.get(name, "maquette.api"))
            if name in _NOUNS or name in home.__all__:
                value = globals()[name] = getattr(home, name)
                return value
        raise AttributeError(f"module 'maquette' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_NOUNS, *import_module("maquette.api").__all__})
