"""A Flow ready to run: code loaded, its arena mapped, its pointers in one table.

All kernels between two interpreted steps run in one call into native code, which walks the table:
the address of a kernel, how many pointers it takes, the pointers; and a zero at the end.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Any

from maquette.compiler.kernel import Flow, Interpreted, Kernel
from maquette.ir.interpret import evaluate
from maquette.run.blocks import Block, mapped
from maquette.run.build import Entry, build
from maquette.run.source import Source
from maquette.run.tensors import stored_as, widened, window

# Walks a table of kernels; a kernel's pointers follow its address and their number.
CHAIN = Source(
    "maquette_chain",
    """\
typedef void kernel(void *const *);
extern "C" void maquette_chain(void *const *b) {
  for (; *b; b += 2 + (long)b[1]) ((kernel *)b[0])(b + 2);
}
""",
)
_ALIGNED = 64
_WORD = ctypes.sizeof(ctypes.c_void_p)

Numpy = Callable[[Kernel, Mapping[str, Any]], Mapping[str, Any]]  # a kernel's meaning


@dataclass(frozen=True)
class Step:
    """A kernel or interpreted graph of a flow, and its code where it was compiled."""

    what: Kernel | Interpreted
    source: Source | None


@dataclass(frozen=True)
class _Run:
    """Consecutive compiled steps: where their part of the table is."""

    address: int


class Ready:
    """A flow bound to its code and memory.  Calls from several threads take turns."""

    def __init__(
        self,
        flow: Flow,
        sources: Sequence[Source | None],
        constants: Mapping[str, int],
        numpy: Numpy,
    ) -> None:
        self.flow = flow
        self.steps = [Step(k, s) for k, s in zip(flow.kernels, sources, strict=True)]
        self._numpy = numpy
        self._taking_turns = Lock()
        native = [s for s in sources if s is not None]
        self._entries = build([CHAIN, *native]) if native else {}
        workspace = max((s.workspace for s in native), default=0)
        held = -flow.arena_bytes % _ALIGNED + flow.arena_bytes
        self._arena, start = _mapped(held + workspace)
        self._known = {b.name: start + b.offset for b in flow.arena} | dict(constants)
        self._workspace = start + held
        self._runs: list[_Run | Step] = []
        self._slots: dict[str, list[int]] = {}
        self._fill()

    @property
    def bytes(self) -> int:
        """Memory of its own: arena and workspace."""
        return self._arena.size if self._arena else 0

    def __call__(self, pointers: Mapping[str, int]) -> None:
        """Run on the buffers of inputs and outputs at these addresses."""
        with self._taking_turns:
            self._place(pointers)
            for run in self._runs:
                if isinstance(run, _Run):
                    self._chain(run.address)
                else:
                    self._interpret(run.what, pointers)

    def timed(self, pointers: Mapping[str, int]) -> list[tuple[str, float]]:
        """Run step by step: the seconds of each, in order."""
        found = []
        with self._taking_turns:
            self._place(pointers)
            at = 0
            for step in self.steps:
                start = perf_counter()
                if step.source is None:
                    self._interpret(step.what, pointers)
                else:
                    at += not self._table[at]  # the end of a run
                    self._entries[step.source.symbol](self._base + (at + 2) * _WORD)
                    at += 2 + (self._table[at + 1] or 0)
                found.append((step.what.name, perf_counter() - start))
        return found

    def _fill(self) -> None:
        """Lay out the table; remember where the pointers of the caller go."""
        words: list[int] = []
        starts: list[int] = []
        for step in self.steps:
            if step.source is None:
                self._close(words, starts)
                self._runs.append(step)
                continue
            if not starts:
                starts.append(len(words))
            words += [_address(self._entries[step.source.symbol]), 0]
            count = len(words)
            for name in _buffers(step):
                if name not in self._known:
                    self._slots.setdefault(name, []).append(len(words))
                words.append(self._known.get(name, 0))
            if step.source.workspace:
                words.append(self._workspace)
            words[count - 1] = len(words) - count
        self._close(words, starts)
        self._table = (ctypes.c_void_p * (len(words) + 1))(*words)
        self._base = ctypes.addressof(self._table)
        for i, run in enumerate(self._runs):
            if isinstance(run, _Run):
                self._runs[i] = _Run(self._base + run.address * _WORD)
        if self._entries:
            self._chain: Entry = self._entries[CHAIN.symbol]

    def _close(self, words: list[int], starts: list[int]) -> None:
        if starts:
            self._runs.append(_Run(starts.pop()))
            words.append(0)

    def _place(self, pointers: Mapping[str, int]) -> None:
        table = self._table
        for name, slots in self._slots.items():
            address = pointers[name]
            for slot in slots:
                table[slot] = address

    def _interpret(self, what: Kernel | Interpreted, pointers: Mapping[str, int]) -> None:
        at = {**self._known, **pointers}
        given = {t.name: widened(window(t, at[t.buffer]), t.dtype) for t in what.inputs}
        if isinstance(what, Kernel):
            found = self._numpy(what, given)
        else:
            found = evaluate(what.graph, given)  # type: ignore[arg-type]
        for t in what.outputs:
            window(t, at[t.buffer])[...] = stored_as(found[t.name], t.dtype)


def _buffers(step: Step) -> Iterator[str]:
    for tensor in (*step.what.inputs, *step.what.outputs):
        yield tensor.buffer


def _address(entry: Any) -> int:
    return ctypes.cast(entry, ctypes.c_void_p).value or 0


def _mapped(size: int) -> tuple[Block | None, int]:
    """Memory whose pages are there already: faulting them in costs more than writing to them."""
    if not size:
        return None, 0
    block = mapped(size)
    ctypes.memset(block.address, 0, size)
    return block, block.address
