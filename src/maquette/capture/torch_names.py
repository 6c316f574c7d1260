"""How torch's functions, methods and operators map to canonical names of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from maquette.capture.lowerings import LOWERINGS, shapes
from maquette.capture.pointwise import converted
from maquette.capture.positional import Positional
from maquette.errors import Fault, NotYet
from maquette.ir.dtypes import DType, dtype

_FORMATS = {
    "float32": "f32", "bfloat16": "bf16", "float16": "f16", "int64": "i64", "int32": "i32",
    "bool": "bool", "int8": "int8", "int16": "i32", "uint8": "i32",
}  # fmt: skip
_TORCH = {
    "f32": "float32", "bf16": "bfloat16", "f16": "float16", "i64": "int64", "i32": "int32",
    "bool": "bool", "int8": "int8",
}  # fmt: skip


def format_of(kind: Any, where: str = "") -> DType:
    """The format of a torch dtype."""
    name = str(kind).removeprefix("torch.")
    if name not in _FORMATS:
        hint = "convert with .float()" if name == "float64" else ""
        fault = Fault(
            where, f"format {name}", "float32, bfloat16, float16, an integer or bool", hint
        )
        raise NotYet(fault)
    return dtype(_FORMATS[name])


def torch_format(kind: DType) -> Any:
    """The torch dtype of a format."""
    import torch

    return getattr(torch, _TORCH[kind.name])


_ALIASES: Mapping[str, str] = {
    "__add__": "add", "__radd__": "add", "__sub__": "sub", "__rsub__": "rsub",
    "__mul__": "mul", "__rmul__": "mul", "__truediv__": "div", "__floordiv__": "floor_divide",
    "__mod__": "remainder", "__pow__": "pow", "__neg__": "neg", "__abs__": "abs",
    "__matmul__": "matmul", "__invert__": "logical_not",
    "__rshift__": "bitwise_right_shift", "__and__": "bitwise_and",
    "__rand__": "bitwise_and", "__or__": "bitwise_or",
    "__ror__": "bitwise_or", "__xor__": "bitwise_xor", "__rxor__": "bitwise_xor",
    "__eq__": "eq", "__ne__": "ne", "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge",
    "__getitem__": "getitem", "greater": "gt", "greater_equal": "ge", "less": "lt",
    "less_equal": "le", "not_equal": "ne", "special_expit": "sigmoid", "expit": "sigmoid",
    "special_erf": "erf", "special_softmax": "softmax", "special_logsumexp": "logsumexp",
    "linalg_matmul": "matmul", "linalg_norm": "norm", "special_log1p": "log1p",
    "special_expm1": "expm1", "_softmax": "softmax", "_log_softmax": "log_softmax",
    "divide": "div", "multiply": "mul", "subtract": "sub", "fmod_floor": "remainder",
    "dropout1d": "dropout", "dropout2d": "dropout", "dropout3d": "dropout",
    "alpha_dropout": "dropout", "feature_dropout": "dropout", "native_dropout": "dropout",
    "unsafe_chunk": "chunk", "unsafe_split": "split", "unsafe_split_with_sizes": "split_with_sizes",
    "slice_copy": "slice", "expand_copy": "expand", "permute_copy": "permute",
    "squeeze_copy": "squeeze", "unsqueeze_copy": "unsqueeze", "transpose_copy": "transpose",
    "select_copy": "select", "t_copy": "t", "detach_": "detach", "data": "detach",
    "real": "detach", "conj": "detach", "positive": "detach", "__pos__": "detach",
    "contiguous_format": "contiguous", "ravel": "flatten", "celu": "elu", "absolute": "abs",
}  # fmt: skip


Adapter = Callable[..., Any]
ADAPTERS: dict[str, Adapter] = {}


def adapts(*names: str) -> Callable[[Adapter], Adapter]:
    """Enter a function that turns torch's arguments into those of the table."""

    def enter(function: Adapter) -> Adapter:
        for name in names:
            ADAPTERS[name] = function
        return function

    return enter


def lowering(name: str) -> Adapter | None:
    """What to call for a torch name, if anything."""
    name = _ALIASES.get(name, name)
    return ADAPTERS.get(name) or LOWERINGS.get(name)


def call(lower: Adapter, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A lowering called with torch's arguments, whose names differ here and there."""
    if kwargs:
        kwargs = {_KEYWORDS.get(k, k): v for k, v in kwargs.items() if k not in _IGNORED}
        first = kwargs.pop("input", None)
        if first is not None:
            args = (first, *args)
        second = kwargs.pop("other", None)
        if second is not None:
            args = (*args, second)
    return lower(*args, **kwargs)


_KEYWORDS = {"axis": "dim", "keepdims": "keepdim", "unbiased": "correction", "self": "input"}
_IGNORED = frozenset(
    {"_stacklevel", "device", "layout", "requires_grad", "pin_memory", "memory_format",
     "non_blocking", "copy", "inplace", "generator", "scale_grad_by_freq", "sparse", "padding_idx",
     "max_norm", "norm_type", "out", "implicit", "size_average", "reduce"}
)  # fmt: skip


def _in_format(name: str) -> None:
    """A reduction that may first be told a format."""
    lower = LOWERINGS[name]

    def adapted(x: Positional, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
        if dtype is not None:
            x = converted(x, format_of(dtype))
        elif args and _is_format(args[-1]):
            x, args = converted(x, format_of(args[-1])), args[:-1]
        return lower(x, *args, **kwargs)

    ADAPTERS[name] = adapted


def _is_format(x: Any) -> bool:
    return type(x).__name__ == "dtype"


for _name in ("sum", "mean", "prod", "cumsum", "cumprod"):
    _in_format(_name)


def _softmaxes() -> None:
    for name in ("softmax", "log_softmax", "_safe_softmax"):
        lower = LOWERINGS[name]

        def adapted(
            x: Positional, dim: int = -1, *rest: Any, dtype: Any = None, _lower: Adapter = lower
        ) -> Any:
            found = dtype if dtype is not None else next((r for r in rest if _is_format(r)), None)
            return _lower(x if found is None else converted(x, format_of(found)), dim)

        ADAPTERS[name] = adapted


_softmaxes()


@adapts("to", "_to_copy", "type", "type_as", "astype", "convert_element_type")
def _to(x: Positional, *args: Any, dtype: Any = None, **_: Any) -> Any:
    for a in (*args, dtype):
        if _is_format(a):
            return converted(x, format_of(a))
        if isinstance(a, Positional):
            return converted(x, a.dtype)
    return x


def _enter_casts() -> None:
    casts = {
        "float": "f32",
        "half": "f16",
        "bfloat16": "bf16",
        "int": "i32",
        "long": "i64",
        "bool": "bool",
    }
    for name, kind in casts.items():
        ADAPTERS[name] = lambda x, _to=kind, **_: converted(x, dtype(_to))


_enter_casts()


@adapts("double")
def _double(x: Positional, **_: Any) -> Any:
    raise NotYet(Fault("", "format float64", "float32 or a narrower one"))


def _maybe(kind: Any) -> DType | None:
    return None if kind is None else format_of(kind)


@adapts("arange")
def _arange(*args: Any, dtype: Any = None, **given: Any) -> Any:
    start, end, step = given.get("start", 0), given.get("end"), given.get("step", 1)
    numbers = [a for a in args if isinstance(a, int | float)]
    if len(numbers) == 1:
        end = numbers[0]
    elif numbers:
        start, end, step = (*numbers, step)[:3]
    return LOWERINGS["arange"](start, end, step, _maybe(dtype))


@adapts("zeros", "empty")
def _zeros(*size: Any, dtype: Any = None, **given: Any) -> Any:
    return _filled(size or given["size"], 0.0, dtype)


@adapts("ones")
def _ones(*size: Any, dtype: Any = None, **given: Any) -> Any:
    return _filled(size or given["size"], 1.0, dtype)


def _filled(size: Any, value: float, kind: Any) -> Any:
    sizes = [s for s in size if not _is_format(s)]
    return LOWERINGS["full"](shapes.ints(sizes), value, _maybe(kind) or dtype("f32"))


@adapts("full")
def _full(size: Any, fill_value: Any, *, dtype: Any = None, **_: Any) -> Any:
    return LOWERINGS["full"](size, fill_value, _maybe(dtype))


@adapts("zeros_like", "empty_like")
def _zeros_like(x: Positional, *, dtype: Any = None, **_: Any) -> Any:
    return _like(x, 0, dtype)


@adapts("ones_like")
def _ones_like(x: Positional, *, dtype: Any = None, **_: Any) -> Any:
    return _like(x, 1, dtype)


@adapts("full_like")
def _full_like(x: Positional, fill_value: Any, *, dtype: Any = None, **_: Any) -> Any:
    return _like(x, fill_value, dtype)


def _like(x: Positional, value: Any, kind: Any) -> Any:
    found = LOWERINGS["full"]((), value, _maybe(kind) or x.dtype)
    return replace(found, dims=x.dims)


@adapts("new_zeros", "new_empty")
def _new_zeros(x: Positional, *size: Any, dtype: Any = None, **_: Any) -> Any:
    return LOWERINGS["full"](shapes.ints(size), 0, _maybe(dtype) or x.dtype)


@adapts("new_ones")
def _new_ones(x: Positional, *size: Any, dtype: Any = None, **_: Any) -> Any:
    return LOWERINGS["full"](shapes.ints(size), 1, _maybe(dtype) or x.dtype)


@adapts("new_full")
def _new_full(x: Positional, size: Any, fill_value: Any, *, dtype: Any = None, **_: Any) -> Any:
    return LOWERINGS["full"](size, fill_value, _maybe(dtype) or x.dtype)


@adapts("scalar_tensor")
def _scalar_tensor(value: Any, *, dtype: Any = None, **_: Any) -> Any:
    return LOWERINGS["full"]((), value, _maybe(dtype))


@adapts("eye")
def _eye(n: int, m: int | None = None, *, dtype: Any = None, **_: Any) -> Any:
    return LOWERINGS["eye"](n, m, _maybe(dtype))


@adapts("linspace")
def _linspace(start: float, end: float, steps: int, *, dtype: Any = None, **_: Any) -> Any:
    return LOWERINGS["linspace"](start, end, steps, _maybe(dtype))


@adapts("meshgrid")
def _meshgrid(*tensors: Any, indexing: str = "ij") -> Any:
    held = tensors[0] if isinstance(tensors[0], list | tuple) else tensors
    return LOWERINGS["meshgrid"](held, indexing)


def _swapped(op: str) -> Adapter:
    """An operator of Python's whose right operand was asked."""
    return lambda x, y: LOWERINGS[op](y, x)


adapts("__rtruediv__", "__rdiv__")(_swapped("div"))
adapts("__rfloordiv__")(_swapped("floor_divide"))
adapts("__rmod__")(_swapped("remainder"))
adapts("__rpow__")(_swapped("pow"))
adapts("__rmatmul__")(_swapped("matmul"))


@adapts("where")
def _where(test: Positional, *branches: Any, **given: Any) -> Any:
    if not branches:
        raise NotYet(Fault("", "the shape of where(test) depends on the data", "where(test, x, y)"))
    return LOWERINGS["where"](test, *branches)


@adapts("norm")
def _norm(x: Positional, p: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    return LOWERINGS["norm"](x, p, dim, keepdim)


def _spreads() -> None:
    for name in ("var", "std"):
        lower = LOWERINGS[name]

        def adapted(x: Positional, *args: Any, _lower: Adapter = lower, **given: Any) -> Any:
            correction = given.pop("correction", 1)
            if args and isinstance(args[0], bool):
                correction, args = int(args[0]), (None, *args[1:])
            elif len(args) > 1:
                correction, args = int(args[1]), (args[0], *args[2:])
            dim = args[0] if args else given.get("dim")
            keepdim = args[1] if len(args) > 1 else given.get("keepdim", False)
            return _lower(x, dim, keepdim, 1 if correction is None else int(correction))

        ADAPTERS[name] = adapted


_spreads()


@adapts("_native_batch_norm_legit_no_training")
def _batch_norm_eval(
    x: Any, w: Any, b: Any, mean: Any, var: Any, momentum: float, eps: float
) -> Any:
    return (LOWERINGS["batch_norm"](x, mean, var, w, b, False, momentum, eps),)
