"""The fast recorder: runs a function once on tensors that have a shape and no numbers.

It sits where torch dispatches its own functions, so ``linear``, ``softmax`` or fused attention
arrive whole.  Python runs as it is: what shapes decide is fixed, what numbers decide is an error.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from maquette.capture.aliasing import Storage
from maquette.capture.literals import band, recognised
from maquette.capture.lowerings import indexing
from maquette.capture.lowerings.shapes import expand
from maquette.capture.pointwise import converted
from maquette.capture.positional import Positional, number
from maquette.capture.structure import rebuilt
from maquette.capture.torch_names import call, format_of, lowering, torch_format
from maquette.capture.trace import Trace
from maquette.errors import Fault, NotYet
from maquette.ir.dtypes import DType

_PLAIN = frozenset(
    {"size", "dim", "ndimension", "stride", "numel", "nelement", "is_floating_point", "__len__",
     "is_complex", "is_contiguous", "element_size", "get_device", "storage_offset", "is_tensor",
     "__hash__", "__repr__", "__format__", "__str__", "finfo", "iinfo", "result_type",
     "is_autocast_enabled", "_set_grad_enabled", "set_grad_enabled", "is_inference",
     "promote_types", "can_cast", "broadcast_shapes", "__dir__", "data_ptr", "is_same_size",
     "get_default_dtype", "set_default_dtype", "requires_grad_", "__reduce_ex__", "register_hook",
     "is_signed", "is_storage", "is_grad_enabled", "__deepcopy__", "is_nonzero_size",
     "retain_grad", "__contains_shape__", "untyped_storage"}
)  # fmt: skip
_SHAPE_OF_DATA = frozenset(
    {"nonzero", "masked_select", "unique", "unique_consecutive", "argwhere", "bincount",
     "_unique2", "nonzero_static"}
)  # fmt: skip
_NUMBER_OF_DATA = frozenset(
    {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__complex__", "numpy",
     "allclose", "equal", "is_nonzero", "__contains__", "__array__"}
)  # fmt: skip
_RANDOM = frozenset(
    {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson",
     "rand_like", "randn_like", "randint_like", "uniform_", "normal_", "bernoulli_", "random_",
     "exponential_", "geometric_", "cauchy_", "log_normal_"}
)  # fmt: skip
_LITERALS = frozenset({"tensor", "as_tensor", "from_numpy", "Tensor", "asarray"})
_VIEWS = frozenset(
    {"view", "reshape", "transpose", "permute", "t", "T", "mT", "H", "mH", "swapaxes", "swapdims",
     "unsqueeze", "squeeze", "expand", "expand_as", "view_as", "flatten", "unflatten", "narrow",
     "select", "split", "chunk", "unbind", "__getitem__", "movedim", "moveaxis", "detach",
     "contiguous", "to", "float", "type_as", "diagonal", "unfold", "data", "reshape_as",
     "__iter__", "ravel", "alias", "real", "tensor_split", "broadcast_to"}
)  # fmt: skip
_INPLACE = {
    "__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div",
    "__idiv__": "div", "__ipow__": "pow", "__imod__": "remainder", "__ifloordiv__": "floor_divide",
    "__iand__": "bitwise_and", "__ior__": "bitwise_or", "__ixor__": "bitwise_xor",
    "__imatmul__": "matmul",
}  # fmt: skip
_MASKED = {"has_torch_function": lambda *_: False, "has_torch_function_unary": lambda *_: False,
           "has_torch_function_variadic": lambda *_: False}  # fmt: skip


class Recorder(TorchFunctionMode):
    """Records what torch is asked to do as patterns."""

    def __init__(self, trace: Trace, names: Mapping[int, str]) -> None:
        super().__init__()
        self.trace = trace
        self.names = names  # of parameters and buffers, by id
        self.constants: dict[int, tuple[torch.Tensor, Positional]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        kind, name, lower = _resolved(func)
        if kind == "plain":
            return func(*args, **kwargs)
        if kind == "lower":
            return self.lowered(name, lower, args, kwargs)
        if kind == "data":
            if not any(_symbolic(a) for a in args):
                return func(*args, **kwargs)
            raise self.depends(name)
        if kind == "random":
            raise self.fault(f"{name} draws numbers anew in every call", "them as an argument")
        if kind == "inplace":
            return self.in_place(name, lower, args, kwargs)
        if kind == "composite":
            with self:
                return lower(*args, **kwargs)
        if not any(_symbolic(a) for a in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        return self.uncovered(name, func, args, kwargs)

    def lowered(self, name: str, lower: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs and kwargs.get("out") is not None:
            raise self.fault(f"{name} writes into out=", "a result of its own")
        ps = [self.symbolic(a) for a in args]
        given = {k: self.symbolic(v) for k, v in kwargs.items()} if kwargs else kwargs
        found = self.trace.run(name, lambda: call(lower, tuple(ps), given))
        if type(found) is not Positional:
            found = _structure(name, found)
        source = args[0] if name in _VIEWS and args else None
        return self.shown(found, source, args[1:] if name == "__getitem__" else None)

    def symbolic(self, x: Any) -> Any:
        """Arguments with their tensors as recorded ones."""
        if isinstance(x, torch.Tensor):
            found = x.__dict__.get("positional")
            return self.constant(x) if found is None else found
        kind = type(x)
        if kind is tuple or kind is list:
            return kind(self.symbolic(v) for v in x)
        return x

    def constant(self, x: torch.Tensor) -> Positional:
        """A tensor that was there before: a weight by its name, a literal, or one number."""
        held = self.constants.get(id(x))
        if held is not None:
            return held[1]
        name = self.names.get(id(x))
        to = format_of(x.dtype, name or self.trace.line())
        found = expressed(x, to, name is None)
        if found is None:
            name = name or f"literal{len(self.trace.constants)}"
            if x.dtype == torch.uint8:
                found = self.trace.unsigned(name, tuple(x.shape), "weight")
            else:
                found = self.trace.input(name, tuple(x.shape), to, "weight")
            self.trace.constants[name] = x
        self.constants[id(x)] = (x, found)
        return found

    def shown(self, found: Any, base: Any = None, key: Any = None) -> Any:
        """Recorded tensors as tensors without numbers."""
        if type(found) is Positional:
            t = _empty(found.shape, torch_format(found.dtype))
            t.positional = found
            storage = base.__dict__.get("storage") if isinstance(base, torch.Tensor) else None
            if storage is None:
                owned = isinstance(base, torch.Tensor)
                storage = Storage(self.names.get(id(base), "a constant") if owned else "")
            t.__dict__["storage"] = storage
            storage.add(t)
            if key is not None:
                t.__dict__["seen"] = (weakref.ref(base), key[0])
            return t
        if isinstance(found, list | tuple):
            return rebuilt(found, lambda x: self.shown(x, base))
        return found

    def in_place(self, name: str, lower: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A tensor that nobody else looks at becomes the result."""
        target = args[0]
        old = self.symbolic(target)
        storage = target.__dict__.get("storage")
        if storage is None:
            storage = Storage(self.names.get(id(target), "a constant"))
        base, key = self.base_of(target)
        objection = storage.objection(name, target, base, *self.parts_of(target, args[1:]))
        if objection is not None:
            raise self.fault(objection[0], objection[1], "call .clone() first")
        ps = [old, *(self.symbolic(a) for a in args[1:])]
        given = {k: self.symbolic(v) for k, v in kwargs.items()}
        new = self.trace.run(name, lambda: _settled(call(lower, tuple(ps), given), old))
        target.__dict__["positional"] = new
        if base is not None:
            held = base.__dict__["positional"]
            key = self.symbolic(key)
            base.__dict__["positional"] = self.trace.run(
                name, lambda: indexing.updated(held, key, new)
            )
        return target

    def parts_of(self, target: torch.Tensor, values: Sequence[Any]) -> list[torch.Tensor]:
        """Those of `values` that were subscripted from `target`: ``y[i] += x`` assigns one back."""
        held = [v for v in values if isinstance(v, torch.Tensor)]
        return [v for v in held if self.base_of(v)[0] is target]

    def base_of(self, target: torch.Tensor) -> tuple[torch.Tensor | None, Any]:
        """What a subscripted tensor is a part of, where it is still alive."""
        ref, key = target.__dict__.get("seen", (None, None))
        base = ref() if ref is not None else None
        return base, key

    def fault(self, what: str, expected: str = "", hint: str = "") -> NotYet:
        """An error at this line, with what has been found wrong before."""
        fault = Fault(self.trace.line(), what, expected, hint)
        return NotYet(*dict.fromkeys((*self.trace.faults, fault)))

    def depends(self, name: str) -> NotYet:
        if name in _SHAPE_OF_DATA:
            what = f"{name}: the shape of its result depends on the data"
            return self.fault(what, "shapes that the inputs' shapes decide", "where(mask, x, 0)")
        what = f"{name}: Python asks for a number that depends on the data"
        return self.fault(what, "branches and numbers that shapes decide", "where(test, x, y)")

    def uncovered(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Note the fault and go on with the shape torch gives, to find the others as well."""
        hint = "see maquette.capture.lowerings"
        fault = Fault(self.trace.line(), f"{name}: no lowering for this operator", hint=hint)
        self.trace.faults.append(fault)
        try:
            with torch.device("meta"):
                found = func(*self.bare(args), **self.bare(kwargs))
        except Exception as error:
            raise NotYet(*dict.fromkeys(self.trace.faults)) from error
        return rebuilt(found, self.unknown)

    def bare(self, tree: Any) -> Any:
        """Tensors without numbers for all tensors, as one device wants them."""
        return rebuilt(tree, lambda x: x.to("meta") if isinstance(x, torch.Tensor) else x)

    def unknown(self, x: Any) -> Any:
        """Something in place of what an operator without a lowering would give."""
        if not isinstance(x, torch.Tensor):
            return x
        name = f"unknown{len(self.trace.faults)}"
        held = self.trace.input(
            name, tuple(x.shape), format_of(x.dtype, self.trace.line()), "activation"
        )
        return self.shown(held)


def expressed(x: torch.Tensor, to: DType, literal: bool) -> Positional | None:
    """A tensor that was there before as an expression: any literal, of buffers only masks."""
    if x.device.type == "meta" or x.dtype == torch.bfloat16 or isinstance(x, torch.nn.Parameter):
        return None
    return (recognised if literal else band)(x.detach().cpu().numpy(), to)


def _structure(name: str, found: Any) -> Any:
    """Pairs of values and positions as torch returns them."""
    if name in ("max", "min", "topk", "sort") and isinstance(found, tuple):
        return getattr(torch.return_types, name)(list(found))
    return found


def _settled(new: Positional, old: Positional) -> Positional:
    """A result in the shape and format of what it replaces."""
    new = converted(new, old.dtype)
    if new.shape != old.shape:
        new = expand(new, old.shape)
    return new


def _symbolic(x: Any) -> bool:
    if isinstance(x, torch.Tensor):
        return "positional" in x.__dict__
    return isinstance(x, list | tuple) and any(map(_symbolic, x))


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Any:
    return torch.empty(shape, dtype=dtype, device="meta")


@functools.cache
def _resolved(func: Any) -> tuple[str, str, Any]:
    """What to do with a torch function: its kind, its name, and what to call."""
    name = getattr(func, "__name__", str(func))
    if name == "__get__":
        name = func.__self__.__name__
        lower = lowering(name) if name in ("T", "mT", "H", "mH", "data", "real") else None
        return ("lower", name, lower) if lower else ("plain", name, None)
    if name in ("__set__", "__delete__"):
        return "inplace", "assignment to .data", _fill
    if name in _RANDOM:
        return "random", name, None
    if name in _PLAIN or name in _LITERALS:
        return "plain", name, None
    if name in _SHAPE_OF_DATA or name in _NUMBER_OF_DATA:
        return "data", name, None
    changed = _changes(name)
    if changed is not None:
        return "inplace", name, changed
    lower = lowering(name)
    if lower is not None:
        return "lower", name, lower
    if isinstance(func, types.FunctionType) and func.__module__.startswith("torch"):
        return "composite", name, _unwrapped(func)
    return "none", name, None


def _changes(name: str) -> Callable[..., Any] | None:
    """What an in-place function leaves in its first argument."""
    special: dict[str, Callable[..., Any]] = {
        "__setitem__": indexing.updated,
        "copy_": _copy,
        "fill_": _fill,
        "zero_": _zero,
    }
    if name in special:
        return special[name]
    if name in _INPLACE:
        return lowering(_INPLACE[name])
    if name.endswith("_") and not name.endswith("__"):
        return lowering(name[:-1])
    return None


def _copy(x: Positional, new: Positional, *_: Any) -> Positional:
    return new


def _fill(x: Positional, value: Any) -> Positional:
    return value if isinstance(value, Positional) else number(value)


def _zero(x: Positional) -> Positional:
    return number(0)


def _unwrapped(func: types.FunctionType) -> types.FunctionType:
    """A function of torch written in Python, without the question whether to hand it over."""
    scope = {**func.__globals__, **_MASKED}
    made = types.FunctionType(
        func.__code__, scope, func.__name__, func.__defaults__, func.__closure__
    )
    made.__kwdefaults__ = func.__kwdefaults__
    return made
