"""A function or module from a user's file, and arguments of the shapes that they name."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from maquette.errors import Fault, InputError, MaquetteError, UnknownName

_OURS = Path(__file__).parents[1]
_SHAPE = re.compile(r"^(?:(?P<name>[A-Za-z_]\w*)=)?(?P<sizes>\d*(?:x\d+)*)(?::(?P<dtype>\w+))?$")


def load(what: str) -> Any:
    """The callable that ``FILE.py:NAME`` names; a class of modules is instantiated.

    InputError says what is wrong: the file, the name, or that it cannot be called.
    """
    path, _, name = what.rpartition(":")
    if not path or not name:
        raise InputError(Fault("FILE.py:NAME", f"{what!r} does not name both", "model.py:Block"))
    module = _module(Path(path))
    if not hasattr(module, name):
        known = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        raise UnknownName("name", name, known, path)
    found = getattr(module, name)
    if isinstance(found, type):
        return _instance(found, f"{path}:{name}")
    if not callable(found):
        raise InputError(Fault(what, f"is {type(found).__name__}, not callable", "a function"))
    return found


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(Fault(str(path), "is not a file", "a Python file"))
    name = f"maquette_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(Fault(str(path), "is no Python file", "a name that ends in .py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(Fault(_line(error, path), f"{type(error).__name__}: {error}")) from error
    finally:
        sys.path.pop(0)
    return module


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Inside, an error that the file of `what` raises names its line; ours stay what they are."""
    path = Path(what.rpartition(":")[0])
    try:
        yield
    except MaquetteError:
        raise
    except Exception as error:
        line, innermost = _line(error, path), _frames(error)[-1]
        if line == str(path) or Path(innermost).is_relative_to(_OURS):
            raise
        raise InputError(Fault(line, f"{type(error).__name__}: {error}")) from error


def _frames(error: BaseException) -> list[str]:
    return [f.f_code.co_filename for f, _ in traceback.walk_tb(error.__traceback__)]


def _line(error: Exception, path: Path) -> str:
    """The last line of the user's file that an error passed through."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{path}:{error.lineno}"
    steps = traceback.walk_tb(error.__traceback__)
    lines = [n for f, n in steps if f.f_code.co_filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _instance(kind: type, where: str) -> Any:
    if not callable(getattr(kind, "forward", None)):
        raise InputError(Fault(where, "is a class but no torch module", "a function or a module"))
    try:
        made = kind()
    except TypeError as error:
        hint = "make an instance in the file and name that"
        raise InputError(Fault(where, f"needs arguments: {error}", hint=hint)) from None
    return made.eval()


def arguments(function: Callable[..., Any], shapes: str, dtype: str) -> list[Any]:
    """Random arguments of the shapes, in the order in which `function` takes them."""
    parsed = [_parsed(part, dtype) for part in shapes.split(",")]
    ordered = _ordered(function, parsed)
    make = _numpy if _is_numpy(function) else _torch
    return [make(i, *each) for i, each in enumerate(ordered)]


def _parsed(part: str, dtype: str) -> tuple[str, tuple[int, ...], str]:
    found = _SHAPE.match(part.strip())
    if found is None:
        what = f"{part.strip()!r} is no shape"
        raise InputError(Fault("--shapes", what, "sizes with x between, such as q=1x8x512x64"))
    sizes = tuple(int(n) for n in found["sizes"].split("x") if n)
    return found["name"] or "", sizes, found["dtype"] or dtype


def _ordered(
    function: Callable[..., Any], parsed: list[tuple[str, tuple[int, ...], str]]
) -> list[tuple[tuple[int, ...], str]]:
    """Shapes by name where they are named, else by position; all named or none."""
    taken = _parameters(function)
    named = [name for name, *_ in parsed if name]
    if named and len(named) < len(parsed):
        raise InputError(Fault("--shapes", "some are named and some are not", "all, or none"))
    if not named:
        least = sum(p.default is p.empty for p in taken.values())
        if taken and not least <= len(parsed) <= len(taken):
            names = ", ".join(taken)
            what = f"{len(parsed)} are given for {len(taken)} arguments"
            raise InputError(Fault("--shapes", what, f"one for each of {names}"))
        return [(sizes, dtype) for _, sizes, dtype in parsed]
    by_name: dict[str, tuple[tuple[int, ...], str]] = {}
    for name, sizes, dtype in parsed:
        if taken and name not in taken:
            raise UnknownName("argument", name, taken, "--shapes")
        if name in by_name:
            raise InputError(Fault("--shapes", f"{name} is given twice"))
        by_name[name] = (sizes, dtype)
    missing = [n for n, p in taken.items() if p.default is p.empty and n not in by_name]
    if missing:
        raise InputError(Fault("--shapes", f"no shape for {', '.join(missing)}"))
    return [by_name[n] for n in (taken or by_name) if n in by_name]


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    """Positional parameters by name; none where they cannot be told."""
    try:
        found = inspect.signature(getattr(function, "forward", function)).parameters
    except (TypeError, ValueError):
        return {}
    if any(p.kind is p.VAR_POSITIONAL for p in found.values()):
        return {}
    return {n: p for n, p in found.items() if p.kind is not p.VAR_KEYWORD}


def _is_numpy(function: Any) -> bool:
    """Whether a function is of NumPy arrays: its file knows numpy and not torch, or it does."""
    held = getattr(function, "__globals__", {})
    names = set(_named(getattr(function, "__code__", None)))
    of_file = _modules(held.values())
    if not {"numpy", "torch"} <= of_file:
        return "numpy" in of_file and "torch" not in of_file
    of_function = _modules(v for n, v in held.items() if n in names)
    if "numpy" not in of_function or "torch" in of_function:
        return False
    import numpy as np
    import torch

    return not any(hasattr(torch.Tensor, n) for n in names if not hasattr(np, n) and n not in held)


def _modules(values: Iterable[Any]) -> set[str]:
    return {getattr(v, "__name__", "").split(".")[0] for v in values}


def _named(code: Any) -> Iterator[str]:
    """The names that some code and the functions in it look up."""
    yield from getattr(code, "co_names", ())
    for held in getattr(code, "co_consts", ()):
        if hasattr(held, "co_names"):
            yield from _named(held)


def _numpy(seed: int, sizes: tuple[int, ...], dtype: str) -> Any:
    import numpy as np

    try:
        format = np.dtype(dtype)
    except TypeError:
        raise InputError(Fault("--dtype", f"numpy has no format {dtype!r}", "float32")) from None
    random = np.random.default_rng(seed)
    if format.kind == "f":
        return random.standard_normal(sizes).astype(format)
    return random.integers(0, 2, sizes).astype(format)


def _torch(seed: int, sizes: tuple[int, ...], dtype: str) -> Any:
    from maquette.bench.framework import torch

    framework = torch()
    format = getattr(framework, dtype, None)
    if not isinstance(format, framework.dtype):
        raise InputError(Fault("--dtype", f"torch has no format {dtype!r}", "float32, int64 …"))
    generator = framework.Generator().manual_seed(seed)
    if format.is_floating_point:
        return framework.randn(sizes, generator=generator).to(format)
    return framework.randint(0, 2, sizes, generator=generator).to(format)
