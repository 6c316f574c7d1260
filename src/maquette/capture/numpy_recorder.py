"""Functions of NumPy arrays, run once on arrays that record what is asked of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from maquette.capture.aliasing import Storage
from maquette.capture.captured import Captured
from maquette.capture.literals import recognised
from maquette.capture.lowerings import LOWERINGS, indexing
from maquette.capture.numpy_names import FUNCTIONS, METHODS, UFUNCS, format_of, numpy_format
from maquette.capture.pointwise import converted
from maquette.capture.positional import Positional, number
from maquette.capture.structure import filler, leaves, rebuilt
from maquette.capture.trace import Trace, finished
from maquette.errors import Fault, InputError, NotYet

FOREIGN = (
    os.path.dirname(os.path.abspath(__file__)),
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "run"),
    os.path.dirname(os.path.abspath(np.__file__)),
)
_VIEWS = frozenset({"reshape", "transpose", "swapaxes", "squeeze", "ravel", "expand_dims", "T",
                    "broadcast_to", "moveaxis", "split", "getitem", "asarray"})  # fmt: skip
_ACCUMULATED = {"add": "cumsum", "multiply": "cumprod"}
_REDUCED = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin",
            "logical_and": "all", "logical_or": "any"}  # fmt: skip


def record(function: Any, arrays: Sequence[Any], kwargs: Mapping[str, Any]) -> Captured:
    """Run `function` once and keep what it did."""
    session = Session(Trace(foreign=FOREIGN))
    name = getattr(function, "__name__", type(function).__name__).strip("<>")
    names: list[str] = []
    called = _named(function, arrays)
    shown = [session.argument(names, n, x) for n, x in called]
    given = {k: session.argument(names, k, x) for k, x in kwargs.items()}
    result = function(*shown, **given)
    found = [session.symbolic(x) for _, x in leaves([result]) if _is_array(x)]
    if not found:
        what = f"{name} returns a {type(result).__name__}"
        raise InputError(Fault(name, what, "an array, or a nest of arrays"))
    return finished(session.trace, name, names, found, filler(result, _is_array))


def _is_array(x: Any) -> bool:
    return isinstance(x, Recorded | np.ndarray)


def _named(function: Any, arrays: Sequence[Any]) -> list[tuple[str, Any]]:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    names += [f"x{i}" for i in range(len(names), len(arrays))]
    return list(zip(names, arrays, strict=False))


class Session:
    """One recording: its trace, and the arrays from outside met so far."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.constants: dict[int, tuple[Any, Positional]] = {}

    def argument(self, names: list[str], name: str, tree: Any) -> Any:
        """An argument with recording arrays in the places of arrays."""
        places = iter([place for place, _ in leaves([tree])])

        def one(x: Any) -> Any:
            place = next(places).removeprefix("0").strip("_")
            if not isinstance(x, np.ndarray):
                return x
            called = f"{name}_{place}" if place else name
            names.append(called)
            to = format_of(x.dtype, f"argument {called}")
            held = self.trace.input(
                called, x.shape, to, "index" if to.kind == "int" else "activation"
            )
            return Recorded(self, held, Storage(f"argument {called}"))

        return rebuilt(tree, one)

    def symbolic(self, x: Any) -> Any:
        """Arguments with their arrays as recorded ones."""
        if isinstance(x, Recorded):
            return x.positional
        if isinstance(x, np.ndarray | np.generic):
            return self.constant(np.asarray(x))
        if type(x) in (tuple, list):
            return type(x)(self.symbolic(v) for v in x)
        return x

    def constant(self, x: Any) -> Positional:
        """An array that was there before; of doubles, whatever fits in single precision."""
        held = self.constants.get(id(x))
        if held is not None:
            return held[1]
        if x.dtype == np.float64:
            to = format_of(np.dtype(np.float32), "")
        else:
            to = format_of(x.dtype, self.trace.line())
        found = recognised(x, to)
        if found is None:
            name = f"literal{len(self.trace.constants)}"
            found = self.trace.input(name, x.shape, to, "weight")
            self.trace.constants[name] = x
        self.constants[id(x)] = (x, found)
        return found

    def run(self, name: str, lower: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A lowering called, and its results as arrays."""
        ps = tuple(self.symbolic(a) for a in args)
        given = {k: self.symbolic(v) for k, v in kwargs.items()}
        found = self.trace.run(name, lambda: lower(*ps, **given))
        first = args[0] if args and isinstance(args[0], Recorded) else None
        return self.shown(found, first.storage if first is not None and name in _VIEWS else None)

    def shown(self, found: Any, storage: Storage | None) -> Any:
        if isinstance(found, Positional):
            return Recorded(self, found, storage or Storage())
        if isinstance(found, list | tuple):
            return type(found)(self.shown(f, storage) for f in found)
        return found

    def refuse(self, what: str, expected: str = "", hint: str = "") -> NoReturn:
        raise NotYet(Fault(self.trace.line(), what, expected, hint))


class Recorded(np.lib.mixins.NDArrayOperatorsMixin):
    """An array with a shape and no numbers."""

    def __init__(self, session: Session, positional: Positional, storage: Storage) -> None:
        self.session, self.positional, self.storage = session, positional, storage
        self.part_of: tuple[Recorded, Any] | None = None
        storage.add(self)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.positional.shape

    @property
    def ndim(self) -> int:
        return self.positional.rank

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self) -> Any:
        return numpy_format(self.positional.dtype)

    @property
    def T(self) -> Recorded:  # noqa: N802
        return self.session.run("T", LOWERINGS["T"], (self,), {})  # type: ignore[no-any-return]

    @property
    def mT(self) -> Recorded:  # noqa: N802
        return self.session.run("T", LOWERINGS["mT"], (self,), {})  # type: ignore[no-any-return]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        found = self.session.run("getitem", indexing.getitem, (self, key), {})
        found.part_of = (self, key)
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        self._become("assignment", indexing.updated, (self, key, value), {})

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            lower = METHODS[name]
            return lambda *args, **kwargs: self.session.run(name, lower, (self, *args), kwargs)
        if name.startswith("_"):
            raise AttributeError(name)
        return self.session.refuse(f"{name}: no lowering for this method of arrays")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._number("turning it into numbers")

    def __bool__(self) -> NoReturn:
        self._number("bool")

    def __float__(self) -> NoReturn:
        self._number("float")

    def __int__(self) -> NoReturn:
        self._number("int")

    def __index__(self) -> NoReturn:
        self._number("an index")

    def item(self, *_: Any) -> NoReturn:
        """Refused: it asks for a number."""
        self._number("item")

    def tolist(self) -> NoReturn:
        """Refused: it asks for numbers."""
        self._number("tolist")

    def _number(self, name: str) -> NoReturn:
        what = f"{name}: Python asks for a number that depends on the data"
        self.session.refuse(what, "branches and numbers that shapes decide", "where(test, x, y)")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        out = kwargs.pop("out", None)
        lower: Callable[..., Any] | None = UFUNCS.get(name)
        if method == "reduce" and name in _REDUCED:
            lower = FUNCTIONS[_REDUCED[name]]
            kwargs = {"axis": 0} | {k: v for k, v in kwargs.items() if k in ("axis", "keepdims")}
        elif method == "accumulate" and name in _ACCUMULATED:
            lower = FUNCTIONS[_ACCUMULATED[name]]
            kwargs = {"axis": 0} | {k: v for k, v in kwargs.items() if k == "axis"}
        elif method == "outer" and lower is not None:
            inputs = (inputs[0][(..., *[None] * np.ndim(inputs[1]))], inputs[1])
        elif method != "__call__":
            lower = None
        if lower is None:
            called = name if method == "__call__" else f"{name}.{method}"
            self.session.refuse(f"{called}: no lowering for this operator")
        if kwargs.pop("where", True) is not True:
            self.session.refuse(f"{name}: the argument where", "np.where(test, result, x)")
        if out is not None:
            (target,) = out
            if not isinstance(target, Recorded):
                self.session.refuse(
                    f"{name} writes into an array from outside", "a result of its own"
                )
            return target._become(name, lower, inputs, kwargs)
        return self.session.run(name, lower, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = func.__name__
        if name in ("nonzero", "argwhere", "flatnonzero", "unique", "extract", "compress"):
            what = f"{name}: the shape of its result depends on the data"
            self.session.refuse(what, "shapes that the inputs' shapes decide", "where(mask, x, 0)")
        if name == "shape":
            return args[0].shape
        if name in ("ndim", "size"):
            return getattr(args[0], name)
        if kwargs.get("out") is not None:
            self.session.refuse(f"{name} writes into out=", "a result of its own")
        if name not in FUNCTIONS:
            self.session.refuse(f"{name}: no lowering for this operator")
        return self.session.run(name, FUNCTIONS[name], args, kwargs)

    def _become(self, name: str, lower: Callable[..., Any], args: Any, kwargs: Any) -> Recorded:
        """The result takes the place of this array, if nobody else would see it."""
        base, key = self.part_of or (None, None)
        held = [a for a in args if isinstance(a, Recorded) and a.part_of is not None]
        parts = [a for a in held if a.part_of is not None and a.part_of[0] is self]
        objection = self.storage.objection(name, self, base, *parts)
        if objection is not None:
            self.session.refuse(objection[0], objection[1], "call .copy() first")
        old = self.positional
        ps = tuple(self.session.symbolic(a) for a in args)
        given = {k: self.session.symbolic(v) for k, v in kwargs.items()}
        made = self.session.trace.run(name, lambda: lower(*ps, **given))
        new = converted(made if isinstance(made, Positional) else number(made), old.dtype)
        if new.shape != old.shape:
            new = LOWERINGS["expand"](new, old.shape)
        self.positional = new
        if base is not None:
            whole, place = base.positional, self.session.symbolic(key)
            base.positional = self.session.trace.run(
                name, lambda: indexing.updated(whole, place, new)
            )
        return self
