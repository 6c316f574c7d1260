"""Where what is compiled is kept between processes."""

from __future__ import annotations

import os
import tempfile
import warnings
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
