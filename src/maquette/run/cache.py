"""Where what is compiled is kept between processes."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path


def cache_folder() -> Path:
    """``$MAQUETTE_CACHE``, else maquette in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    A folder that cannot be written to is replaced by a temporary one, with a warning, once.
    """
    own, shared = os.environ.get("MAQUETTE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return _writable(own or os.path.join(shared or "~/.cache", "maquette"))


@cache
def _writable(folder: str) -> Path:
    path = Path(folder).expanduser() / "kernels"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except (OSError, RuntimeError) as error:
        held = Path(tempfile.mkdtemp(prefix="maquette-"))
        what = f"cannot write kernels to {path} ({error}); they go to {held} and are not kept"
        warnings.warn(what, RuntimeWarning, stacklevel=5)
        return held


def keep(name: str, text: str) -> None:
    """Write a text to the cache at once and whole, with its digest; where it cannot be, do not."""
    content = text.encode()
    place = cache_folder() / name
    made = ""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # deleted to make room
        handle, made = tempfile.mkstemp(dir=place.parent, prefix=".making-")
        with open(handle, "wb") as file:
            file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        os.replace(made, place)
    except OSError:  # a full disk: it is made anew next time
        with suppress(OSError):
            Path(made).unlink()


def kept(name: str) -> str | None:
    """What `keep` wrote; None where there is nothing, or not as it was written."""
    try:
        digest, _, content = (cache_folder() / name).read_bytes().partition(b"\n")
        whole = hashlib.sha256(content).hexdigest().encode() == digest
        return content.decode() if whole else None
    except (OSError, ValueError):
        return None
