"""Nested arguments and results: their tensors in order, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from maquette.capture.positional import Positional


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a nest of tuples, lists, dicts and dataclasses that is none of them.

    >>> list(leaves({"a": [1, (2, 3)]}))
    [('a_0', 1), ('a_1_0', 2), ('a_1_1', 3)]
    """
    for key, part in _parts(tree):
        place = f"{path}_{key}" if path else str(key)
        if _parts(part) or _nested(part):
            yield from leaves(part, place)
        else:
            yield place, part
    if not _nested(tree):
        yield path, tree


def rebuilt(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same nest with every leaf changed.

    >>> rebuilt({"a": [1, (2, 3)]}, lambda x: -x)
    {'a': [-1, (-2, -3)]}
    """
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuilt(x, change) for x in tree))
    if isinstance(tree, tuple) and type(tree).__module__.startswith("torch.return_types"):
        return type(tree)([rebuilt(x, change) for x in tree])
    if isinstance(tree, tuple | list):
        return type(tree)([rebuilt(x, change) for x in tree])
    if isinstance(tree, dict):
        new = {k: rebuilt(x, change) for k, x in tree.items()}
        return new if type(tree) is dict else type(tree)(new)
    if _record(tree):
        return type(tree)(**{f.name: rebuilt(getattr(tree, f.name), change) for f in fields(tree)})
    return change(tree)


def form(tree: Any, leaf: Callable[[str, Any], Any], path: str = "") -> Any:
    """What is equal for two nests just where their structures are, and `leaf` of their leaves.

    >>> def kind(name, x):
    ...     return type(x)
    >>> form([1, ()], kind) == form([2, ()], kind), form([1], kind) == form((1,), kind)
    (True, False)
    """
    if not _nested(tree):
        return leaf(path, tree)
    named = ((key, f"{path}_{key}" if path else str(key), part) for key, part in _parts(tree))
    return type(tree), tuple((key, form(part, leaf, place)) for key, place, part in named)


def filler(tree: Any, is_tensor: Callable[[Any], bool]) -> Callable[[Sequence[Any]], Any]:
    """A function that puts a flat list of results where the tensors of `tree` are."""
    if is_tensor(tree):
        return lambda results: results[0]
    if type(tree) in (tuple, list) and all(map(is_tensor, tree)):
        return type(tree)

    def fill(results: Sequence[Any]) -> Any:
        found = iter(results)
        return rebuilt(tree, lambda x: next(found) if is_tensor(x) else x)

    return fill


def _nested(tree: Any) -> bool:
    return isinstance(tree, tuple | list | dict) or _record(tree)


def _record(tree: Any) -> bool:
    """Whether `tree` is a dataclass of the user's."""
    return is_dataclass(tree) and not isinstance(tree, type | Positional)


def _parts(tree: Any) -> list[tuple[Any, Any]]:
    if isinstance(tree, dict):
        return list(tree.items())
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(zip(tree._fields, tree, strict=True))
    if isinstance(tree, tuple | list):
        return list(enumerate(tree))
    if _record(tree):
        return [(f.name, getattr(tree, f.name)) for f in fields(tree)]
    return []
