"""From Sources to callables: compiled once, cached by content, loaded into this process.

A cached library is valid for one text, one compiler with its flags, and one processor: all of them
are in its name.  It is written beside its place and renamed, so processes may race for it, and ends
with a digest of the rest: part of a library may load, and end the process when it is called.
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

from maquette.errors import Fault, InputError, NotYet, ProgramError
from maquette.run.cache import cache_folder
from maquette.run.cpp.team import team
from maquette.run.host import thread_count
from maquette.run.library import provide
from maquette.run.source import Source
from maquette.run.toolchain import HINT, Toolchain, toolchain

__all__ = ["Entry", "build", "builder", "cache_folder", "place"]

Entry = Callable[[Any], None]  # takes the address of an array of buffers' base pointers

_loaded: dict[str, ctypes.CDLL] = {}  # libraries stay loaded: code may hold their addresses
_loading = Lock()
_DIGEST = hashlib.sha256().digest_size
_HINT = "set MAQUETTE_CACHE to a folder with room whose programs may run"


def builder() -> Callable[[str, str], Entry] | None:
    """What builds one text and loads its symbol, for layers that may not know of compilers.

    None where this machine has no C++ compiler.

    >>> from maquette.run.toolchain import toolchain
    >>> (builder() is None) == (toolchain() is None)
    True
    """
    if toolchain() is None:
        return None
    return lambda symbol, text: build([Source(symbol, text)])[symbol]


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
    for s in sources:
        if s.text != wanted[s.symbol].text:
            raise ProgramError(Fault(s.symbol, "is the symbol of two different texts"))
    if not wanted:
        return {}
    chain = toolchain()
    if chain is None:
        raise NotYet(Fault("C++ compiler", "none found", hint=HINT))
    linked = ("-x", "none", _team(chain)) if chain.alone else ()
    places = {symbol: place(source, chain) for symbol, source in wanted.items()}
    missing = {places[n]: s for n, s in wanted.items() if not _whole(places[n])}
    if missing:
        with ThreadPoolExecutor(min(len(missing), max(2, thread_count()))) as pool:
            list(pool.map(lambda i: _compile(i[1], i[0], chain, *linked), missing.items()))
    return {symbol: _entry(path, wanted[symbol]) for symbol, path in places.items()}


def place(source: Source, chain: Toolchain) -> Path:
    """Where the library of a source is, or will be."""
    linked = team().text if chain.alone else ""
    content = hashlib.sha256(f"{chain.identity}\0{source.text}{linked}".encode()).hexdigest()
    return cache_folder() / f"{source.symbol[:60]}-{content[:24]}.so"


def _team(chain: Toolchain) -> str:
    """The library whose threads kernels use: loaded, so that it is found by its name alone."""
    source = team()
    path = place(source, chain)
    if not (path.exists() and _whole(path)):  # kernels are linked with the file
        _compile(source, path, chain, f"-Wl,-soname,{path.name}")
    _entry(path, source)
    return str(path)


def _compile(source: Source, path: Path, chain: Toolchain, *linked: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # deleted to make room
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".making-", suffix=".so")
        os.close(handle)
    except OSError as error:
        raise InputError(Fault("kernel cache", str(error), hint=_HINT)) from None
    try:
        chain.compile(source.text, Path(name), *linked)
        with open(name, "rb+") as file:
            file.write(hashlib.sha256(file.read()).digest())
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise InputError(Fault("kernel cache", str(error), hint=_HINT)) from None
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _whole(path: Path) -> bool:
    """Whether a library is there as it was written."""
    if str(path) in _loaded:
        return True
    try:
        held = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(held[:-_DIGEST]).digest() == held[-_DIGEST:]


def _entry(path: Path, source: Source) -> Entry:
    with _loading:
        library = _loaded.get(str(path))
        if library is None:
            try:
                library = ctypes.CDLL(str(path))
            except OSError as error:
                raise InputError(Fault("kernel cache", str(error), hint=_HINT)) from None
            provide(library)
            _loaded[str(path)] = library
    entry = getattr(library, source.symbol)
    entry.argtypes, entry.restype = [ctypes.c_void_p], None
    return entry  # type: ignore[no-any-return]
