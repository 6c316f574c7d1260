"""Kernels: what runs as one, in index notation, with numbers for sizes.

A kernel is a metapipeline before it is tiled: stages in order, each a pattern over named axes.
Views are gone: what they did is in the strides of a tensor, or in the coordinate of a read.

    kernel softmax
      extent n=64, t=1000
      in x f32[n, t] strides 1000, 1
      out y f32[n, t] strides 1000, 1
      f32 m[n] = max over t: %x
      f32 e[n, t] = exp(%x - %m)
      f32 l[n] = add over t: %e
      f32 y[n, t] = %e / %l

Reads of a stage are positions in its `reads`; an axis of what is read that the `Arg` does not
place is read at the stage's own coordinate of that name.  Outside a tensor there are zeros.

What `fuse` makes is simpler than what the types allow.  A read that is affine and inside is a
window, whose axes are axes of the stage: it has no `at`, its strides say all, and several windows
may lie on one buffer.  Only a read at a computed coordinate (a gather, a shift past an edge, one
side of a concatenation) has `at`, for just those axes.  An earlier result is always read at the
stage's own coordinates.  A leaf is over whole inlined bodies; a result that several stages read and
that costs something, such as `e` above, is a map stage of its own that lives in a tile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from maquette.ir.dtypes import DType
from maquette.ir.monoids import Monoid
from maquette.ir.scalar import Scalar


@dataclass(frozen=True)
class Tensor:
    """A strided window on a buffer.  Strides and offset are in elements; several may share one.

    Axes are names of the tensor's own, `shape` their extents.
    """

    name: str
    dtype: DType
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    buffer: str
    offset: int = 0


@dataclass(frozen=True)
class Result:
    """One component of a stage: a value at every point of `axes`."""

    name: str
    axes: tuple[str, ...]
    dtype: DType


StageKind = Literal["map", "reduce", "scan"]


@dataclass(frozen=True)
class Stage:
    """One pattern.  `leaves` holds a scalar per component of the monoid; a map has one.

    map: each result at every point of its axes.  reduce: leaves combined over `over` (row-major).
    scan: inclusive prefixes along ``over[0]``, which is among the axes of the results.
    Results of several components may have fewer axes where neither the leaf nor what the component
    depends on varies along the others: the m of an attention has no value axis, its o has.
    """

    kind: StageKind
    results: tuple[Result, ...]
    over: tuple[str, ...]
    monoid: Monoid | None
    leaves: tuple[Scalar, ...]
    reads: tuple[str, ...]  # names of tensors of `Kernel.inputs` or of results of earlier stages


@dataclass(frozen=True)
class Kernel:
    """Stages that run as one.  An output bears the name of the result that it stores."""

    name: str
    extents: Mapping[str, int]  # of every axis that a stage names
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Interpreted:
    """What has no compiled form (routing, top-k, grouping): values run by the interpreter."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    graph: object  # ir.Graph whose inputs and outputs bear these tensors' names
    reason: str


@dataclass(frozen=True)
class Buffer:
    """Bytes that a flow allocates once: a place in the arena, given by when it is alive."""

    name: str
    bytes: int
    offset: int  # in the arena


@dataclass(frozen=True)
class Flow:
    """A Program for one set of shapes: kernels in order, and the buffers between them.

    The buffer of an input is called as the input, that of an output as the output; all others are
    in `arena`, which lets buffers that are never alive together share bytes.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    kernels: tuple[Kernel | Interpreted, ...]
    arena: tuple[Buffer, ...]

    @property
    def arena_bytes(self) -> int:
        return max((b.offset + b.bytes for b in self.arena), default=0)
