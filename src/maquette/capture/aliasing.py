"""Whose memory a tensor is, and who else looks at it: what may be changed in place."""

from __future__ import annotations

import weakref
from typing import Any


class Storage:
    """Memory that several tensors may share.

    Changing a tensor in place gives it a new value, which is right as long as nobody else sees
    the change: neither the caller, whose argument or parameter it is, nor another live view.
    """

    def __init__(self, owner: str = "") -> None:
        self.owner = owner  # the argument or constant it belongs to, if any
        self.views: list[weakref.ref[Any]] = []

    def add(self, view: Any) -> None:
        """Another tensor looks at this memory."""
        self.views.append(weakref.ref(view))

    def others(self, *known: Any) -> list[Any]:
        """Tensors other than those `known` that are still alive and share this memory."""
        self.views = [r for r in self.views if r() is not None]
        live = [r() for r in self.views]
        return [t for t in live if t is not None and not any(t is k for k in known)]

    def objection(self, operator: str, *known: Any) -> tuple[str, str] | None:
        """Why a tensor may not be changed, and what to do; None if it may."""
        if self.owner:
            what = f"{operator} changes {self.owner}, which is not the function's own"
            return what, "work on a copy"
        if self.others(*known):
            what = f"{operator} changes a tensor that shares memory with another still in use"
            return what, "work on a copy, or assign to a slice of the whole"
        return None
