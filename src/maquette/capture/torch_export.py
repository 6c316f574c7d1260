"""Through ``torch.export``: its functional graph, operator by operator, into the same table."""

from __future__ import annotations

import operator
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.export.graph_signature import InputKind, OutputKind

from maquette.capture.captured import Captured
from maquette.capture.lowerings.table import LOWERINGS
from maquette.capture.positional import Positional, number
from maquette.capture.structure import filler
from maquette.capture.torch_capture import FOREIGN, name_of
from maquette.capture.torch_names import call, format_of, lowering
from maquette.capture.torch_recorder import expressed
from maquette.capture.trace import Trace, finished, many
from maquette.errors import Fault, NotYet

_SKIPPED = frozenset(
    {"_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain"}
)
_REDUCTIONS = ("none", "mean", "sum")
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def export(function: Any, tensors: Sequence[Any], kwargs: Mapping[str, Any]) -> Captured:
    """Export, make functional where it is not, and lower."""
    module = function if isinstance(function, torch.nn.Module) else _Wrapped(function)
    try:
        program = torch.export.export(module, tuple(tensors), dict(kwargs), strict=False)
        if any(map(_changes, program.graph.nodes)):
            program = program.run_decompositions({})
    except Exception as error:
        raise _refused(function, error) from None
    trace = Trace(foreign=FOREIGN)
    names, known = _inputs(trace, program)
    _uncovered(program)
    for node in program.graph.nodes:
        if node.op == "call_function":
            known[node] = _value(trace, node, known)
    return _finished(trace, function, program, names, known)


def _changes(node: Any) -> bool:
    """Whether a node changes an argument, so that the graph must be made functional first."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


class _Wrapped(torch.nn.Module):
    """A function as a module, which is what torch exports."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = _as_forward(function)

    def forward(self, *tensors: Any, **kwargs: Any) -> Any:
        return self.function(*tensors, **kwargs)


def _as_forward(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function under the one name whose lines torch keeps."""
    if not isinstance(function, types.FunctionType):
        return function
    code = function.__code__.replace(co_name="forward")
    made = types.FunctionType(
        code, function.__globals__, "forward", function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _refused(function: Any, error: Exception) -> NotYet:
    """What torch.export says against a function, with the line of the user's source it names."""
    text = str(error)
    frames = [f"{p}:{n}" for p, n in _FRAME.findall(text) if not p.startswith(FOREIGN)]
    at = frames[-1] if frames else _deepest(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    hint = "shapes and branches may not depend on the data; how='record' fixes what it can"
    return NotYet(Fault(at, f"torch.export: {first}", "", hint))


def _deepest(error: BaseException) -> str:
    """The innermost line of the user's own source in a traceback."""
    found, step = "", error.__traceback__
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        if not path.startswith(FOREIGN) and not path.startswith("<"):
            found = f"{path}:{step.tb_lineno}"
        step = step.tb_next
    return found


def _inputs(trace: Trace, program: Any) -> tuple[list[str], dict[Any, Any]]:
    """Names of the arguments, and what placeholders stand for."""
    placeholders = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    state = {**program.state_dict, **program.constants}
    names: list[str] = []
    known: dict[Any, Any] = {}
    for spec in program.graph_signature.input_specs:
        node = placeholders[spec.arg.name]
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            known[node] = getattr(spec.arg, "value", value)
            continue
        user = spec.kind == InputKind.USER_INPUT
        name = re.sub(r"^tensors_(\d+)$", r"x\1", node.name) if user else spec.target
        name = name.removeprefix("function.")
        literal = spec.kind == InputKind.CONSTANT_TENSOR
        held = None if user else state[spec.target]
        known[node] = _tensor(trace, name, value, held, literal)
        if user:
            names.append(name)
    return names, known


def _tensor(trace: Trace, name: str, value: Any, held: Any, literal: bool) -> Positional:
    """A tensor from outside: an argument, or one that was there before."""
    if held is None:
        index = value.dtype in (torch.int64, torch.int32)
        to = format_of(value.dtype, f"argument {name}")
        return trace.input(name, tuple(value.shape), to, "index" if index else "activation")
    if held.dtype == torch.float64 and not held.dim():
        return number(held.item())
    to = format_of(value.dtype, name)
    found = expressed(held, to, literal)
    if found is None:
        trace.constants[name] = held
        found = trace.input(name, tuple(value.shape), to, "weight")
    return found


def _uncovered(program: Any) -> None:
    """All operators that have no lowering, at once."""
    faults = []
    for node in program.graph.nodes:
        if node.op == "get_attr":
            continue
        if node.op == "call_function" and node.target is not operator.getitem:
            name = _name(node)
            if name not in _SKIPPED and _lower(name) is None:
                hint = "see maquette.capture.lowerings"
                faults.append(
                    Fault(_line(node), f"{name}: no lowering for this operator", hint=hint)
                )
    many(faults)


def _name(node: Any) -> str:
    """The canonical name of an operator."""
    return str(getattr(node.target, "_opname", getattr(node.target, "__name__", node.target)))


def _line(node: Any) -> str:
    """The user's line that made a node."""
    frames = [f"{p}:{n}" for p, n in _FRAME.findall(node.meta.get("stack_trace") or "")]
    own = [f for f in frames if not f.startswith(FOREIGN)]
    return own[-1] if own else ""


def _value(trace: Trace, node: Any, known: Mapping[Any, Any]) -> Any:
    def look(x: Any) -> Any:
        if isinstance(x, torch.fx.Node):
            return known[x]
        if isinstance(x, list | tuple):
            return type(x)(look(v) for v in x)
        return x

    args = tuple(look(a) for a in node.args)
    kwargs = {k: look(v) for k, v in node.kwargs.items()}
    if node.target is operator.getitem:
        found = args[0][args[1]]
        if found is None and node.users:
            what = f"{_name(node.args[0])}: its result {args[1]} is not computed"
            raise NotYet(Fault(_line(node), what))
        return found
    name = _name(node)
    if name in _SKIPPED:
        return None
    lower = _lower(name)
    assert lower is not None
    return trace.run(name, lambda: call(lower, args, kwargs), _line(node))


def _lower(name: str) -> Callable[..., Any] | None:
    return _OWN.get(name) or lowering(name)


def _batch_norm(
    x: Any,
    w: Any,
    b: Any,
    mean: Any,
    var: Any,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Any:
    return LOWERINGS["batch_norm"](x, mean, var, w, b, training, momentum, eps)


def _cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    reduction: int = 1,
    ignore: int = -100,
    smooth: float = 0.0,
) -> Any:
    kind = _REDUCTIONS[reduction]
    return LOWERINGS["cross_entropy"](x, target, weight, ignore, kind, smooth)


def _nll(x: Any, target: Any, weight: Any = None, reduction: int = 1, ignore: int = -100) -> Any:
    return LOWERINGS["nll_loss"](x, target, weight, ignore, _REDUCTIONS[reduction])


def _norm(x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    return LOWERINGS["norm"](x, p, dim, keepdim)


def _std(x: Any, dim: Any = None, *, correction: Any = 1, keepdim: bool = False) -> Any:
    return LOWERINGS["std"](x, dim, keepdim, 1 if correction is None else correction)


def _var(x: Any, dim: Any = None, *, correction: Any = 1, keepdim: bool = False) -> Any:
    return LOWERINGS["var"](x, dim, keepdim, 1 if correction is None else correction)


def _copied(x: Positional, new: Any, *_: Any) -> Any:
    """``copy``: the numbers of `new` in the shape and format of `x`."""
    return LOWERINGS["where"](True, LOWERINGS["expand"](new, x.shape), x)


def _pooled(n: int) -> Callable[..., Any]:
    """With the positions, which nobody may ask for."""
    return lambda x, size: (LOWERINGS[f"adaptive_max_pool{n}d"](x, size), None)


_OWN: Mapping[str, Callable[..., Any]] = {
    "batch_norm": _batch_norm, "cross_entropy_loss": _cross_entropy, "nll_loss_nd": _nll,
    "nll_loss": _nll, "linalg_vector_norm": _norm, "std": _std, "var": _var, "copy": _copied,
    "mse_loss": lambda x, y, reduction=1: LOWERINGS["mse_loss"](x, y, _REDUCTIONS[reduction]),
    "l1_loss": lambda x, y, reduction=1: LOWERINGS["l1_loss"](x, y, _REDUCTIONS[reduction]),
    "split": lambda x, size, dim=0: LOWERINGS["split"](x, size, dim),
    "adaptive_max_pool1d": _pooled(1), "adaptive_max_pool2d": _pooled(2),
    "adaptive_max_pool3d": _pooled(3),
}  # fmt: skip


def _finished(
    trace: Trace, function: Any, program: Any, names: Sequence[str], known: Mapping[Any, Any]
) -> Captured:
    (node,) = (n for n in program.graph.nodes if n.op == "output")
    results: list[Any] = []
    for spec, value in zip(program.graph_signature.output_specs, node.args[0], strict=True):
        if spec.kind != OutputKind.USER_OUTPUT:
            what = f"{name_of(function)} changes {spec.target or 'an argument'} in place"
            raise NotYet(Fault(name_of(function), what, "a function that returns what it makes"))
        results.append(known[value] if isinstance(value, torch.fx.Node) else value)
    tensors = [r for r in results if isinstance(r, Positional)]
    nest = torch.utils._pytree.tree_unflatten(results, program.call_spec.out_spec)
    rebuild = filler(nest, lambda x: isinstance(x, Positional))
    return finished(trace, name_of(function), names, tensors, rebuild)
