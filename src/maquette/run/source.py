"""Generated code for one kernel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Text that defines ``extern "C" void symbol(void *const *buffers)``.

    `buffers` holds the base pointers of the kernel's inputs, then of its outputs, in order; strides
    and offsets are constants in the text.  Same text, same symbol, same machine code: kernels are
    cached by content.  A kernel that needs memory of its own names its size: then one more pointer
    follows, to that many bytes aligned to 64, mapped already and of no known content.
    """

    symbol: str
    text: str
    workspace: int = 0
