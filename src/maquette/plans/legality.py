"""Whether a Program can be laid over a mesh at all: legality follows from its axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import gcd
from typing import Any, get_args

from maquette.errors import Fault, InputError, UnknownName
from maquette.ir.dtypes import DTYPES, dtype
from maquette.ir.graph import Program
from maquette.ir.patterns import Reduce
from maquette.machines.facts import native as widest
from maquette.machines.types import Machine, System
from maquette.models.config import ModelConfig
from maquette.plans.engine import Engine
from maquette.plans.types import (
    Admission,
    Graphs,
    Infeasible,
    Mesh,
    Plan,
    Policy,
    Precision,
    Routing,
    Scheduler,
    Sharing,
)

# What users and checkpoints call a precision → formats by role.
PRECISIONS: dict[str, Precision] = {
    "bf16": Precision("bf16", "bf16", "bf16"),
    "fp8": Precision("fp8", "fp8", "bf16"),
    "fp8-kv8": Precision("fp8", "fp8", "fp8"),
    "int8": Precision("int8", "bf16", "bf16"),
    "int4": Precision("int4", "bf16", "bf16"),
    "mxfp4": Precision("mxfp4", "bf16", "bf16"),
    "nvfp4": Precision("nvfp4", "nvfp4", "bf16"),
    "mxint8": Precision("mxint8", "mxint8", "mxint8"),
    "mxint4": Precision("mxint4", "mxint4", "mxint8"),
}
FORMATS = [d.name for d in DTYPES.values() if d.kind != "bool" and d.bits <= 16]
WIDE = frozenset({"bf16", "f16", "f32"})  # products in them serve any model
assert all({p.weights, p.activations, p.kv} <= set(DTYPES) for p in PRECISIONS.values())


def precision(name: str, activations: str | None = None, kv: str | None = None) -> Precision:
    """The formats of a deployment: those of a precision, and of single roles where said.

    >>> precision("fp8", kv="fp8").kv
    'fp8'
    """
    roles = {k: v for k, v in (("activations", activations), ("kv", kv)) if v is not None}
    wrong = [] if name in PRECISIONS else [UnknownName("precision", name, PRECISIONS)]
    wrong += [UnknownName("format", v, FORMATS, k) for k, v in roles.items() if v not in FORMATS]
    if wrong:
        raise InputError(*(f for error in wrong for f in error.faults))
    return replace(PRECISIONS[name], **roles)


def native(published: str, machine: Machine) -> str:
    """The precision a model is served in where nobody says: its own, or the machine's without it.

    >>> from maquette.catalogue.machines import machine
    >>> native("bf16", machine("h100")), native("bf16", machine("corsair"))
    ('bf16', 'mxint8')
    """
    if WIDE & set(machine.compute.matrix) or PRECISIONS[published].activations not in WIDE:
        return published
    own = widest(machine)
    return own if own in PRECISIONS else published


def extents(program: Program) -> dict[str, frozenset[tuple[int, int]]]:
    """Sizes of the axes a mesh can shard: axis name → {(size, groups it belongs to)}."""
    found: dict[str, set[tuple[int, int]]] = {}
    for part in program.parts.values():
        for value in part.values:
            axes = value.domain if isinstance(value, Reduce) else value.axes
            groups = next((_number(a.size) for a in axes if a.name == "g"), 0)
            inside = any(a.within is not None for a in axes)
            for a in axes:
                if a.name in "grhf" and (n := _number(a.size)) > 1:
                    name = "experts' f" if a.name == "f" and inside else a.name
                    found.setdefault(name, set()).add((n, groups))
    # The same weights are seen once as storage and once inside an expert.
    found["f"] = found.get("f", set()) - found.get("experts' f", set())
    return {name: frozenset(sizes) for name, sizes in found.items()}


def _number(extent: object) -> int:
    constant = getattr(extent, "constant", None)
    return int(constant) if constant is not None else 0


def legal(program: Program, layers: int, mesh: Mesh) -> Infeasible | None:
    """Why `mesh` cannot carry `program`, or None.

    Key-value heads may be replicated over devices; query heads, hidden features and experts may
    not, and they must come out even.
    """
    return next(_objections(program, layers, mesh), None)


def _objections(program: Program, layers: int, mesh: Mesh) -> Iterator[Infeasible]:
    sizes = extents(program)
    tp, dp, ep = mesh.tp, mesh.dp, mesh.ep
    if mesh.pp > layers:
        yield Infeasible(f"{mesh.pp} stages for {layers} layers", mesh.pp - layers, "layers")
    for g, _ in sizes.get("g", ()):
        if tp % g and g % tp:
            yield Infeasible(f"{g} key-value heads do not divide over tp {tp}")
    for r, g in sizes.get("r", ()):
        if g and r % (tp // gcd(tp, g)):
            yield Infeasible(f"{r * g} query heads do not divide over tp {tp}")
    for name, n in (("h", tp), ("f", tp)):
        for extent, _ in sizes.get(name, ()):
            if extent % n:
                what = "heads" if name == "h" else "hidden features"
                yield Infeasible(f"{extent} {what} do not divide over tp {tp}")
    if program.experts is None:
        if ep > 1:
            yield Infeasible("ep without experts")
        return
    if program.experts[0] % ep:
        yield Infeasible(f"{program.experts[0]} experts do not divide over ep {ep}")
    if (tp * dp) % ep:
        yield Infeasible(f"ep {ep} does not divide the {tp * dp} devices of a stage")
        return
    for extent, _ in sizes.get("experts' f", ()):
        if extent % (tp * dp // ep):
            yield Infeasible(f"{extent} expert features do not divide over {tp * dp // ep}")


def joined(system: System, mesh: Mesh) -> Infeasible | None:
    """Why the devices of a replica cannot talk to one another, or None."""
    reach = max((k.domain for k in system.machine.links.values()), default=1)
    if system.machine.style == "wafer" and mesh.tp * mesh.dp > 1:
        return Infeasible("nothing is cut over wafers but the layers: pp")
    if mesh.devices > reach:
        what = f"no link of {system.machine.name} joins the devices of a replica"
        return Infeasible(what, mesh.devices - reach, "devices")
    return None


def staged(plan: Plan, layers: int) -> Infeasible | None:
    """Why the stages a plan spells out are not its pipeline's, or None."""
    stages, pp = plan.stages, plan.mesh.pp
    if not stages:
        return None
    if len(stages) != pp or min(stages) < 1:
        return Infeasible(f"stages of {', '.join(map(str, stages))} layers for pp {pp}")
    if sum(stages) != layers:
        return Infeasible(
            f"stages hold {sum(stages)} of {layers} layers", abs(layers - sum(stages)), "layers"
        )
    return None


def supported(system: System, engine: Engine, precision: Precision) -> Infeasible | None:
    """Why an engine on a machine cannot run a precision, or None."""
    machine, matrix = system.machine, system.machine.compute.matrix
    if machine.style not in engine.styles:
        return Infeasible(f"{engine.name} does not run on {machine.name} ({machine.style})")
    if dtype(precision.activations).storage_only:
        return Infeasible(f"{precision.activations} is for storage: no product computes in it")
    if precision.weights not in engine.formats:
        known = ", ".join(engine.formats)
        return Infeasible(f"{engine.name} does not serve {precision.weights} weights ({known})")
    if not WIDE & set(matrix) and precision.activations not in matrix:
        known = ", ".join(matrix)
        return Infeasible(f"{machine.name} has no {precision.activations} products ({known})")
    needed = {"nvfp4": "fp4"}.get(precision.activations, precision.activations)
    if needed in ("fp8", "fp4", "int8") and not {needed, precision.activations} & set(matrix):
        return Infeasible(f"{system.machine.name} has no {needed} products")
    return None


def capturable(engine: Engine, policy: Policy) -> None:
    """Raise InputError where a largest captured size is asked of what captures none."""
    if policy.captured is None:
        return
    if engine.capture is None:
        raise InputError(Fault("captured", f"{engine.name} captures no sizes", "another engine"))
    if policy.graphs == "none" and policy.captured != engine.policy.captured:
        expected = "graphs that are captured, or no size"
        raise InputError(Fault("captured", "has no meaning where graphs are 'none'", expected))


def routed(model: ModelConfig, changes: Mapping[str, Any]) -> None:
    """Raise InputError where a skew of experts was given for a model that has none."""
    if changes.get("expert_skew") is not None and model.experts is None:
        what = f"has no meaning with {model.name}, which has no experts"
        raise InputError(Fault("expert_skew", what))


def estimated(policy: Policy) -> Iterator[Fault]:
    """What is wrong with admission by an estimate, and with the limit that it takes."""
    if policy.admission == "estimate" and policy.scheduler != "prefill-first":
        hint = "SGLang estimates, and puts prompts first"
        yield Fault("admission", f"'estimate' with {policy.scheduler} batches", hint=hint)
    if policy.output_limit is not None and policy.admission != "estimate":
        hint = "others admit by prompts, or by outputs of known length"
        yield Fault("output_limit", f"of admission by {policy.admission}", "'estimate'", hint)
    if policy.output_limit is not None and policy.output_limit < 1:
        yield Fault("output_limit", f"is {policy.output_limit}", "1 or more")


CHOICES = {
    "graphs": Graphs,
    "scheduler": Scheduler,
    "admission": Admission,
    "sharing": Sharing,
    "routing": Routing,
}


def adjusted(base: Policy, changes: Mapping[str, Any]) -> Policy:
    """An engine's policy with the changes that were given; None changes nothing.

    Engines that put whole prompts first (vLLM 0.x) mix prefill and decoding once it is chunked.
    What SGLang estimates is counted whole where its batches are formed otherwise.

    Raises:
        InputError: a step cannot hold a token of every sequence; a kind of graphs nobody captures;
            a size or a spread below zero.
    """
    found = replace(base, **{k: v for k, v in changes.items() if v is not None})
    if not changes.get("max_seqs"):  # the engine's own number of them gives way
        found = replace(found, max_seqs=max(min(found.max_seqs, found.max_batched_tokens), 1))
    if found.chunked_prefill and not base.chunked_prefill and not changes.get("scheduler"):
        found = replace(found, scheduler="continuous")
    if found.scheduler != "prefill-first" and not changes.get("admission"):
        found = found if found.admission != "estimate" else replace(found, admission="output")
    faults = list(estimated(found))
    if found.max_batched_tokens < found.max_seqs:
        what = f"{found.max_batched_tokens} tokens per step for {found.max_seqs} sequences"
        hint = "every running sequence takes a token of the budget"
        faults.append(Fault("max_batched_tokens", what, "at least as many", hint))
    for name, kinds in CHOICES.items():
        if (value := getattr(found, name)) not in get_args(kinds):
            expected = f"one of {', '.join(get_args(kinds))}"
            faults.append(Fault(name, f"is {value!r}", expected))
    if found.scheduler == "static" and changes.get("admission"):
        what = "has no meaning with static batches"
        faults.append(Fault("admission", what, hint="their blocks are reserved to the end"))
    for name in ("activation_peak", "reserve", "expert_skew", "jitter"):
        value = getattr(found, name)
        if value is not None and not 0 <= value < float("inf"):
            faults.append(Fault(name, f"is {value:g}", "0 or more"))
    if faults:
        raise InputError(*faults)
    return found
