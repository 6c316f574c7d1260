"""Large blocks of memory, used again when nothing refers to them any more.

The system gives new memory page by page, each zeroed at a fault; for a large result that takes
longer than to compute it.  Allocators give large blocks back as soon as they are free, so that
every call pays again.  Here a block is kept when the array that owns it is finalised: all views of
it, NumPy's and torch's, refer to that one, and nothing but a count of references ends it.  (A cycle
with a finaliser of its own may bring objects back that are being collected; arrays are in none.)
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

LARGE = 1 << 20  # bytes from which faults are worth avoiding
UNUSED = 256 << 20  # bytes of unused blocks that are kept
HUGE = 1 << 21  # bytes of a large page
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # a child that is forked has its own


@dataclass(frozen=True)
class Block:
    """Memory of the system's: `size` bytes from `offset`."""

    memory: mmap.mmap
    offset: int
    size: int

    def array(self) -> Any:
        """Its bytes, as an array that keeps its memory."""
        return np.frombuffer(self.memory, np.uint8, self.size, self.offset)

    @property
    def address(self) -> int:
        """Of the first byte; a multiple of the size of a page."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory, self.offset))


def mapped(size: int) -> Block:
    """Fresh zeroed memory, in large pages as far as they fit and the system has them.

    Raises OSError where there is no room.

    >>> block = mapped(5 << 20)
    >>> block.size, block.address % HUGE, int(block.array()[-1])
    (5242880, 0, 0)
    """
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None or size < HUGE:
        return Block(mmap.mmap(-1, size, flags=_PRIVATE), 0, size)
    memory = mmap.mmap(-1, size + HUGE, flags=_PRIVATE)
    offset = -Block(memory, 0, size).address % HUGE
    with suppress(OSError):  # of a system built without them
        memory.madvise(advice, offset, size // HUGE * HUGE)
    return Block(memory, offset, size)


class Blocks:
    """Blocks that are in use or will be again; unused ones up to `most` bytes, the newest.

    Safe from several threads, and from finalisers that run in the midst of it.
    """

    def __init__(self, most: int = UNUSED) -> None:
        self.most = most
        self._unused: list[Block] = []  # the oldest first
        self._bytes = 0  # of those
        self._returned: deque[Block] = deque()
        self._lock = Lock()

    @property
    def unused(self) -> int:
        """Bytes of blocks that wait to be used again."""
        with self._lock:
            self._settle()
            return self._bytes

    def take(self, size: int) -> Any:
        """An array of at least `size` bytes, not initialised; a fifth of it at most is spare.

        The block belongs to whoever holds the array or a view.  Raises OSError where there is no
        room.

        >>> blocks = Blocks()
        >>> first, second = blocks.take(4096), blocks.take(4096)
        >>> where = first.ctypes.data
        >>> del first
        >>> blocks.take(4000).ctypes.data == where
        True
        """
        block = self._found(size) or mapped(size)
        held = block.array()
        weakref.finalize(held, self._give, block).atexit = False
        return held

    def clear(self) -> None:
        """Give what is unused back to the system."""
        with self._lock:
            self._settle()
            self._unused.clear()
            self._bytes = 0

    def _found(self, size: int) -> Block | None:
        with self._lock:
            self._settle()
            for i in range(len(self._unused) - 1, -1, -1):
                if size <= self._unused[i].size <= size + size // 4:
                    return self._left(i)
        return None

    def _left(self, i: int) -> Block:
        block = self._unused.pop(i)
        self._bytes -= block.size
        return block

    def _give(self, block: Block) -> None:
        """Called by a finaliser, at any time: the lock may be this very thread's."""
        self._returned.append(block)
        if self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def _settle(self) -> None:
        while self._returned:
            block = self._returned.popleft()
            self._unused.append(block)
            self._bytes += block.size
        while self._bytes > self.most:
            self._left(0)


RESULTS = Blocks()
# In a child that is forked nobody will release a lock that another thread held.
os.register_at_fork(after_in_child=RESULTS.__init__)  # type: ignore[misc]
