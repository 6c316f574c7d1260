"""An engine: how real serving software cuts a layer into kernels and what it defaults to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from maquette.machines.types import Style
from maquette.plans.types import Policy
from maquette.units import Bytes

# What the share of memory in a policy is of, and what it holds:
# "device": all of it; weights, a profiled step, the context and the KV cache share it (vLLM);
# "static": what the context leaves; weights and KV cache share it, steps run in the rest (SGLang);
# "free": what weights, steps and the context leave; the KV cache has it alone (TensorRT-LLM).
Budget = Literal["device", "static", "free"]


@dataclass(frozen=True)
class Capture:
    """The sizes an engine captures graphs for.

    `ladder` holds pairs (up to, stride): sizes up to the first number are multiples of the second.
    Steps between two sizes are padded to the next one.  The largest is `per_seq` times the
    sequences of the policy, at most `largest`, and at most what the first row of `by_memory` with
    more GiB than the device has says: (GiB, with less than four tensor parallel devices, with four
    or more).
    """

    ladder: tuple[tuple[int, int], ...]
    largest: int
    per_seq: int = 1
    by_memory: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Headroom:
    """What an engine leaves free for steps where nobody gives it a share of memory."""

    base: Bytes
    per_token: Bytes  # of the token budget, of at least `tokens`
    tokens: int
    per_captured: Bytes  # of the largest captured size
    per_device: Bytes  # of a replica
    floor: Bytes  # at least so much …
    above: Bytes  # … on devices with more memory than this


@dataclass(frozen=True)
class Unshared:
    """Versions whose decode attention reads cached heads anew for every query head.

    Such a kernel takes one query head at a time, on arithmetic that is not the matrix engine's.
    Groups of as many query heads as `groups` says have a kernel that reads them once.
    """

    before: str  # the version that was the first to do better
    groups: tuple[int, ...] = ()


def numbered(version: str) -> tuple[int, ...]:
    """A version as numbers that compare as versions do.

    >>> numbered("0.10.1") > numbered("v0.9"), numbered("1.0.0rc1")
    (True, (1, 0, 0))
    """
    found = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    return tuple(map(int, found[1].split("."))) if found else ()


@dataclass(frozen=True)
class Engine:
    """A serving engine at a version.

    `fuse` maps a section of the Program to the kernel that swallows it; `launches` gives kernels
    that take more than one launch.  `unquantised` names sections whose weights stay in full
    precision when the rest is quantised.  `frees_windows`: in models of which only some layers see
    a window, those layers keep no more of a sequence than that (a hybrid KV cache manager).
    """

    name: str
    title: str
    version: str
    source: str
    policy: Policy
    formats: tuple[str, ...]  # weight formats it can serve
    fuse: Mapping[str, str] = field(default_factory=dict)
    launches: Mapping[str, int] = field(default_factory=dict)
    unquantised: tuple[str, ...] = ("embed", "router", "lm_head")
    reserve: Bytes = field(default=Bytes(1.0e9))  # per device: context, communication, workspace
    budget: Budget = "device"
    unshared: tuple[Unshared, ...] = ()
    # Bytes that sampling takes per sequence and word of the vocabulary; 0: logits stay sharded.
    sampling: float = 0.0
    headroom: Headroom | None = None
    capture: Capture | None = None  # None: plans are compiled and launched as one
    frees_windows: bool = False
    # Tokens of one pass over the layers; a step of more makes several, and needs the memory of one.
    # None: a step is one pass.
    pass_tokens: int | None = None
    styles: tuple[Style, ...] = ("kernel",)  # execution styles of the machines it runs on
    # Styles on which a replica takes all devices by default, and not the fewest that hold it.
    spread: tuple[Style, ...] = ()
    aliases: tuple[str, ...] = ()
    note: str = ""

    def since(self, version: str) -> str:
        """The version whose kernels a version has: "" where they are those of this file."""
        turns = sorted({numbered(r.before) for r in self.unshared})
        at = numbered(version)
        if not at or not turns or at >= turns[-1]:
            return ""
        return ".".join(map(str, max((t for t in turns if t <= at), default=(0,))))

    def shares(self, group: int) -> bool:
        """Whether query heads that see one cached head, so many, have it read once."""
        old = (r for r in self.unshared if numbered(self.version) < numbered(r.before))
        return all(group in r.groups for r in old)
