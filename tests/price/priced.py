"""What tests of prices share: a plain engine, an H100, and a schedule with its symbols filled."""

from __future__ import annotations

from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.models.decoder import program
from maquette.plans.engine import Engine
from maquette.plans.types import Policy
from maquette.price.calibration import first_principles
from maquette.price.environment import batch_environment, mesh_environment, mesh_of, nothing
from maquette.price.rates import formats

PLAIN = Engine("plain", "no fusion rules", "1", "test", Policy(), ("bf16", "fp8"))
H100 = machine("h100-sxm")
CAL = first_principles("h100-sxm", "plain")


def lowered(name):
    return lower(program(model(name)), PLAIN)


def environment(schedule, plan, prefill=None, decode=None):
    mesh, none = mesh_of(plan), nothing(schedule)
    return {
        **mesh_environment(schedule, mesh),
        **formats(H100, plan.precision, schedule),
        **batch_environment(schedule, mesh, prefill=prefill or none, decode=decode or none),
    }
