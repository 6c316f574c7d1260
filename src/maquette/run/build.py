"""From Sources to callables: compiled once, cached by content, loaded into this process.

A cached library is valid for one text, one compiler with its flags, and one processor: all of them
are in its name.  It is written beside its place and renamed, so processes may race for it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from maquette.errors import Fault, NotYet
from maquette.run.cache import cache_folder
from maquette.run.host import thread_count
from maquette.run.library import provide
from maquette.run.source import Source
from maquette.run.toolchain import HINT, Toolchain, toolchain

__all__ = ["Entry", "build", "cache_folder", "place"]

Entry = Callable[[Any], None]  # takes the address of an array of buffers' base pointers

_loaded: dict[str, ctypes.CDLL] = {}  # libraries stay loaded: code may hold their addresses
_loading = Lock()


def build(sources: Iterable[Source]) -> dict[str, Entry]:
    """Compile what is not cached, two at a time, and load: the entry point of each symbol.

    Raises NotYet where there is no C++ compiler, InputError where it fails.

    >>> text = 'extern "C" void twice(void *const *b) { *(int *)b[1] = 2 * *(int *)b[0]; }'
    >>> entry = build([Source("twice", text)])["twice"]
    >>> x, y = ctypes.c_int(21), ctypes.c_int()
    >>> entry((ctypes.c_void_p * 2)(ctypes.addressof(x), ctypes.addressof(y)))
    >>> y.value
    42
    """
    wanted = {s.symbol: s for s in sources}
    if not wanted:
        return {}
    chain = toolchain()
    if chain is None:
        raise NotYet(Fault("C++ compiler", "none found", hint=HINT))
    places = {symbol: place(source, chain) for symbol, source in wanted.items()}
    missing = {places[n]: s for n, s in wanted.items() if not places[n].exists()}
    if missing:
        with ThreadPoolExecutor(min(len(missing), max(2, thread_count()))) as pool:
            list(pool.map(lambda item: _compile(item[1], item[0], chain), missing.items()))
    return {symbol: _entry(path, wanted[symbol], chain) for symbol, path in places.items()}


def place(source: Source, chain: Toolchain) -> Path:
    """Where the library of a source is, or will be."""
    content = hashlib.sha256(f"{chain.identity}\0{source.text}".encode()).hexdigest()
    return cache_folder() / f"{source.symbol[:60]}-{content[:24]}.so"


def _compile(source: Source, path: Path, chain: Toolchain) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".making-", suffix=".so")
    os.close(handle)
    try:
        chain.compile(source.text, Path(name))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _entry(path: Path, source: Source, chain: Toolchain) -> Entry:
    with _loading:
        library = _loaded.get(str(path))
        if library is None:
            try:
                library = ctypes.CDLL(str(path))
            except OSError:  # half of a file, or one of another system: made anew
                _compile(source, path, chain)
                library = ctypes.CDLL(str(path))
            provide(library)
            _loaded[str(path)] = library
    entry = getattr(library, source.symbol)
    entry.argtypes, entry.restype = [ctypes.c_void_p], None
    return entry  # type: ignore[no-any-return]
