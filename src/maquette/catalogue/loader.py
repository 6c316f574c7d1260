"""From TOML to frozen dataclasses, strictly: the one loader of every catalogue and user file.

`read_toml` reads a file and `structure` turns what it holds into a dataclass; `load` does both.
All faults of a file are reported at once, each with its dotted path, for instance

    h100.toml: tiers.hbm.bandwidth: '3.35 Tb/s' is in bits where bytes belong; expected …

What a field may be, by its type:

- a quantity of `maquette.units` (``Bytes``, ``Seconds`` …): a string with a unit, ``"80 GB"``;
- ``Fact[T]``: ``{ value = "80 GB", kind = "datasheet", source = "…", note = "…" }``, or any
  other (generic) dataclass: a table; keys that are not fields are refused;
- ``int``, ``float``, ``str``, ``bool``: exactly that (an integer is also a float, nothing else
  is converted); ``Literal``: one of its strings; ``X | None``: X, or leave the key out;
- a union of the above plain types (``int | str``): any of them;
- ``tuple[T, ...]``, ``tuple[A, B]``, ``list[T]``: an array; ``Mapping[str, T]``: a table.

A dataclass may raise `InputError` or `ValueError` in ``__post_init__``: it is reported at the
path of the table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NewType, TypeVar, Union, cast, get_args, get_origin

from cattrs import Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

from maquette.errors import Fault, InputError, nearest
from maquette.units import UNITS, parse

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

_NOUN = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.  InputError names the file and, for bad syntax, the line."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise InputError(Fault(str(path), f"cannot be read: {error.strerror}")) from None
    except UnicodeDecodeError as error:
        raise InputError(Fault(str(path), f"is not UTF-8 text (byte {error.start})")) from None
    except tomllib.TOMLDecodeError as error:
        what, duplicate = str(error), "overwrite" in str(error) or "twice" in str(error)
        hint = "the same key or table appears twice" if duplicate else "quote quantities: '80 GB'"
        raise InputError(Fault(str(path), f"is not valid TOML: {what}", hint=hint)) from None


def structure(cls: type[T], data: object, where: str = "") -> T:
    """`data`, what a TOML file holds, as a `cls`; `where` prefixes the path of every fault.

    >>> from maquette.units import Bytes
    >>> structure(Bytes, "80 GB")
    80000000000.0
    >>> structure(dict[str, int], {"a": 1, "b": "2"}, "x.toml")
    Traceback (most recent call last):
    maquette.errors.InputError: x.toml: b: '2' is a string; expected an integer
    """
    try:
        return _converter().structure(data, cls)
    except InputError as error:
        sep = ": " if where else ""
        raise InputError(*(_at(f"{where}{sep}", fault) for fault in error.faults)) from None


def load(cls: type[T], path: str | Path) -> T:
    """The file at `path` as a `cls`."""
    return structure(cls, read_toml(path), Path(path).name)


def _at(prefix: str, fault: Fault) -> Fault:
    return Fault((prefix + fault.where).rstrip(": "), fault.what, fault.expected, fault.hint)


def _under(key: str | int, error: Exception) -> list[Fault]:
    """The faults of a child, with the path leading through `key`."""
    step = f"[{key}]" if isinstance(key, int) else key
    out = []
    for fault in _faults(error):
        dot = "." if fault.where and not fault.where.startswith("[") else ""
        out.append(_at(f"{step}{dot}", fault))
    return out


def _faults(error: Exception) -> list[Fault]:
    if isinstance(error, InputError):
        return list(error.faults)
    if isinstance(error, ClassValidationError):
        return _class_faults(error)
    return [Fault("", str(error) or type(error).__name__)]


def _class_faults(error: ClassValidationError) -> list[Fault]:
    inner, outer = error.group_exceptions()
    found: list[Fault] = []
    for child, note in inner:
        if type(child) is KeyError and child.args == (note.name,):
            noun = _expected(note.type)
            found.append(Fault(note.name, "is missing", noun))
        else:
            found += _under(note.name, child)
    for child in outer:
        if isinstance(child, ForbiddenExtraKeysError):
            cls = cast(Any, get_origin(child.cl) or child.cl)
            known = [f.name for f in fields(cls)]
            for key in sorted(child.extra_fields):
                found.append(Fault(key, "is not a known key", hint=nearest(key, known)))
        else:
            found += _faults(child)
    return found


@cache
def _converter() -> Converter:
    """cattrs, with every conversion it does by default replaced by a check."""
    made = Converter(detailed_validation=True)
    # The latest registered predicate is asked first.
    for plain in (str, int, float, bool):
        made.register_structure_hook(plain, _plain)
    made.register_structure_hook_func(_is_plain_union, _plain)
    made.register_structure_hook_func(_is_literal, _literal)
    made.register_structure_hook_func(_is_quantity, _quantity)
    factories = ((_is_table, _table), (_is_array, _array), (_is_dataclass, _dataclass))
    for predicate, factory in factories:
        made.register_structure_hook_factory(predicate, factory)
    return made


def _expected(t: Any) -> str:
    """What belongs where a `t` is wanted, in words."""
    if _is_quantity(t):
        known = UNITS[t.__name__]
        example = next((u for u in known if u[0] in "GTm"), next(iter(known)))
        return f"a quoted quantity with its unit, such as '4 {example}'"
    if isinstance(t, NewType):
        return _expected(t.__supertype__)
    if _is_literal(t):
        return f"one of {', '.join(map(str, get_args(t)))}"
    if _is_union(t):
        return " or ".join(_expected(a) for a in get_args(t) if a is not NoneType)
    if _is_dataclass(t):
        return f"a table with keys {', '.join(f.name for f in fields(get_origin(t) or t))}"
    if _is_table(t):
        return "a table"
    if _is_array(t):
        return "an array"
    return _NOUN.get(t, getattr(t, "__name__", str(t)))


def _is_union(t: Any) -> bool:
    return get_origin(t) in (Union, UnionType)


def _is_plain_union(t: Any) -> bool:
    return _is_union(t) and all(a in _NOUN or a is NoneType for a in get_args(t))


def _is_literal(t: Any) -> bool:
    return bool(get_origin(t) == Literal)


def _is_quantity(t: Any) -> bool:
    return isinstance(t, NewType) and t.__name__ in UNITS


def _is_table(t: Any) -> bool:
    origin = get_origin(t) or t
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_array(t: Any) -> bool:
    origin = get_origin(t) or t
    return (
        isinstance(origin, type)
        and issubclass(origin, (tuple, list, Sequence))
        and t
        not in (
            str,
            bytes,
        )
    )


def _is_dataclass(t: Any) -> bool:
    return is_dataclass(get_origin(t) or t)


def _got(value: object) -> str:
    kind = "a table" if isinstance(value, dict) else "an array" if isinstance(value, list) else ""
    return kind or f"{value!r} is {_NOUN.get(type(value), type(value).__name__)}"


def _wrong(value: object, t: Any) -> InputError:
    return InputError(Fault("", _got(value), _expected(t)))


def _plain(value: Any, t: Any) -> Any:
    allowed = set(get_args(t)) if _is_union(t) else {t}
    if type(value) in allowed:
        return value
    if type(value) is int and float in allowed:
        return float(value)
    raise _wrong(value, t)


def _literal(value: Any, t: Any) -> Any:
    choices = get_args(t)
    if any(value == c and type(value) is type(c) for c in choices):
        return value
    hint = nearest(value, map(str, choices)) if isinstance(value, str) else ""
    hint = hint if hint.startswith("did") else ""
    raise InputError(Fault("", f"{value!r} is not a choice", _expected(t), hint))


def _quantity(value: Any, t: Any) -> Any:
    if isinstance(value, str):
        return parse(value, t.__name__)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise InputError(Fault("", f"{value!r} has no unit", _expected(t)))
    raise _wrong(value, t)


def _dataclass(t: Any, made: Converter) -> Hook:
    build = make_dict_structure_fn(
        t, made, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, t)
        try:
            return build(value, t)
        except ClassValidationError as error:
            raise InputError(*_class_faults(error)) from None

    return hook


def _gather(items: list[tuple[Any, Any, Hook, Any]]) -> list[tuple[Any, Any]]:
    """(key, value) of every item structured by its hook; all their faults at once."""
    out, faults = [], []
    for key, value, hook, t in items:
        try:
            out.append((key, hook(value, t)))
        except Exception as error:
            faults += _under(key, error)
    if faults:
        raise InputError(*faults)
    return out


def _table(t: Any, made: Converter) -> Hook:
    inner = (get_args(t) or (str, Any))[1]

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, t)
        one = made.get_structure_hook(inner)
        return dict(_gather([(k, v, one, inner) for k, v in value.items()]))

    return hook


def _array(t: Any, made: Converter) -> Hook:
    args = get_args(t) or (Any, ...)
    fixed = get_origin(t) is tuple and Ellipsis not in args
    into = tuple if (get_origin(t) or t) is not list else list

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise _wrong(value, t)
        if fixed and len(value) != len(args):
            raise InputError(Fault("", f"has {len(value)} items", f"{len(args)} items"))
        types = args if fixed else (args[0],) * len(value)
        items = [
            (i, v, made.get_structure_hook(a), a)
            for i, (v, a) in enumerate(zip(value, types, strict=True))
        ]
        return into(v for _, v in _gather(items))

    return hook
