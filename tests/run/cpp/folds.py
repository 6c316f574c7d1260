"""Kernels that weigh values by functions of scores, their meaning by hand, and their run as C++."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import numpy as np

from maquette.compiler.fuse import parse_kernel
from maquette.compiler.kernel import Kernel, Tensor
from maquette.compiler.processor import Processor
from maquette.compiler.tile.phases import Phases
from maquette.compiler.tile.roles import Roles, roles
from maquette.compiler.tile.stream import tiled
from maquette.compiler.tile.stream_places import placed
from maquette.compiler.tile.stream_sizes import Sizes
from maquette.run.build import build
from maquette.run.cpp.stream import emit
from maquette.run.host import processor

SMALL = Sizes(block=32, super=64, depth=24, products=(2, 4), contractions=(2, 3))
_GUARD = "where($0 == ${n}, 1.0, exp(($0 - ${n}) * {power}))"


@dataclass(frozen=True)
class Case:
    """``out = Σ_t w(score) v`` over ``[b, h, s, t]``: text for scores, arrays to go with it."""

    b: int = 1
    h: int = 2
    s: int = 50
    t: int = 50
    d: int = 16
    e: int = 16
    groups: int = 1  # query heads per head of k and v
    score: str = "%p * 0.25"
    reads: dict[str, str] = field(default_factory=dict)  # other inputs: name → "f32[h, s, t]"
    form: str = "online"  # or "passes", "sigmoid", "linear"
    layout: str = "bhs"  # or "bsh"
    held: str = "f32"
    outputs: str = "y"  # or "y m l"
    power: float = 1.0  # what scores are multiplied by in exponentials

    @property
    def kernel(self) -> Kernel:
        """The kernel, read from text."""
        kv = self.h // self.groups
        n = {"b": self.b, "h": self.h, "s": self.s, "t": self.t, "d": self.d, "e": self.e}
        q, k, v, y = ("b h s d", "b h t d", "b h t e", "b h s e")
        lines = ["kernel fold", "  extent " + ", ".join(f"{a}={x}" for a, x in n.items())]
        guard = _GUARD.format(n=3, power=self.power).replace(" * 1.0", "")
        lines.append(f"  monoid streamed mlo: max, add * {guard}, add * {guard}")
        for name, axes in (("q", q), ("k", k), ("v", v)):
            heads = self.h if name == "q" else kv
            lines.append("  in " + self._tensor(name, axes, n | {"h": heads}, n))
        for name, kind in self.reads.items():
            dtype, _, axes = kind.rstrip("]").partition("[")
            named = axes.replace(",", " ").split()
            shape = {a.partition("=")[0]: int(a.partition("=")[2] or n[a[0]]) for a in named}
            lines.append("  in " + _text(name, dtype, shape, list(shape), n))
        lines.append("  out " + self._tensor("y", y, n, n))
        if self.outputs != "y":
            rows = {a: n[a] for a in "bhs"}
            lines.append("  out " + _text("z", "f32", rows, list("bhs"), n))
        at = f"[h=h // {self.groups}]" if self.groups > 1 else ""
        lines.append(f"  f32 p[b, h, s, t] = add over d: %q * %k{at}")
        lines += ["  " + x for x in self._folded(at)]
        return parse_kernel("\n".join(lines) + "\n")

    def _tensor(self, name: str, axes: str, extents: dict, of: dict) -> str:
        named = axes.split()
        order = [named[0], named[2], named[1], named[3]] if self.layout == "bsh" else named
        return _text(name, self.held, {a: extents[a] for a in named}, order, of)

    def _folded(self, at: str) -> list[str]:
        held, score = self.held, f"f32 x[b, h, s, t] = {self.score}"
        if self.form in ("sigmoid", "linear"):
            weight = "sigmoid(%x)" if self.form == "sigmoid" else "%x"
            fold = f"{held} y[b, h, s, e] = add over t: {weight} * %v{at}"
            return [score, fold]
        if self.form == "passes":
            folds = [
                "f32 m[b, h, s] = max over t: %x",
                "f32 w[b, h, s, t] = exp(%x - %m)",
                "f32 l[b, h, s] = add over t: %w",
                f"f32 o[b, h, s, e] = add over t: %w * %v{at}",
            ]
        else:
            states = "f32 m[b, h, s], f32 l[b, h, s], f32 o[b, h, s, e]"
            folds = [f"{states} = mlo over t: %x, 1.0, %v{at}"]
        last = [f"{held} y[b, h, s, e] = %o / (%l + (%m - %m))"]
        if self.outputs != "y":
            last.append("f32 z[b, h, s] = %m + log(%l)")
        return [score, *folds, *last]


def _text(name: str, dtype: str, extents: dict, order: list[str], of: dict) -> str:
    strides, step = {}, 1
    for a in reversed(order):
        strides[a] = step
        step *= extents[a]
    shape = ", ".join(a if of.get(a) == n else f"{a}={n}" for a, n in extents.items())
    return f"{name} {dtype}[{shape}] strides {', '.join(str(strides[a]) for a in extents)}"


def arrays(kernel: Kernel, seed: int = 0, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Random inputs, in float64 but of numbers that the tensors can hold."""
    rng = np.random.default_rng(seed)
    found = {}
    for t in kernel.inputs:
        x = rng.standard_normal(t.shape) * (scale if t.name == "q" else 1.0)
        if t.dtype.name == "bool":
            found[t.name] = x > 0
        elif t.dtype.name == "bf16":
            bits = x.astype(np.float32).view(np.uint32)
            found[t.name] = (bits & 0xFFFF0000).view(np.float32).astype(np.float64)
        else:
            found[t.name] = x.astype(np.float32).astype(np.float64)
    return found


_STORED = {"f32": np.float32, "bf16": np.uint16, "bool": np.uint8}


def window(tensor: Tensor, x: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A buffer for a tensor, and the tensor as a view of it."""
    size = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    buffer = np.zeros(max(size, 1), _STORED[tensor.dtype.name])
    strides = [s * buffer.itemsize for s in tensor.strides]
    view = np.lib.stride_tricks.as_strided(buffer, tensor.shape, strides)
    if x is not None:
        view[...] = _bits(x) if tensor.dtype.name == "bf16" else x
    return buffer, view


def _bits(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def run(kernel: Kernel, sizes: Sizes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of the generated code."""
    source = emit(kernel, tiling(kernel, sizes), processor())
    entry = build([source])[source.symbol]
    held = [window(t, inputs[t.name]) for t in kernel.inputs]
    made = [window(t) for t in kernel.outputs]
    scratch = np.full(source.workspace // 4 + 16, np.nan, np.float32)
    pointers = [b.ctypes.data for b, _ in (*held, *made)]
    pointers.append(scratch.ctypes.data + -scratch.ctypes.data % 64)
    entry((ctypes.c_void_p * len(pointers))(*pointers))
    return {t.name: _floats(t, view) for t, (_, view) in zip(kernel.outputs, made, strict=True)}


def _floats(tensor: Tensor, view: np.ndarray) -> np.ndarray:
    if tensor.dtype.name == "bf16":
        return (view.astype(np.uint32) << 16).view(np.float32)
    return view.copy()


def tiling(kernel: Kernel, sizes: Sizes, host: Processor | None = None):
    """The tiling of the first choice of rows with these sizes."""
    held = first(kernel)
    return tiled(held, sizes, placed(Phases(held), sizes, host or processor()))


def first(kernel: Kernel) -> Roles:
    """The roles under which candidates are made first."""
    return next(r for r in roles(kernel) if isinstance(r, Roles))


def grouped(x: np.ndarray, groups: int) -> np.ndarray:
    """Heads repeated for the query heads that share them."""
    return np.repeat(x, groups, axis=1)


def softmaxed(case: Case, inputs: dict[str, np.ndarray], scores: np.ndarray) -> np.ndarray:
    """The naive program, from finished scores, in double precision."""
    with np.errstate(all="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return weights @ grouped(inputs["v"], case.groups)


def products(case: Case, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Raw scores."""
    return inputs["q"] @ grouped(inputs["k"], case.groups).swapaxes(-1, -2)
