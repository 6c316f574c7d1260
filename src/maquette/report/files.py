"""Files written whole or not at all, and refused before the work starts rather than after."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from maquette.errors import Fault, InputError


def folder(path: str | Path, option: str = "") -> Path:
    """The directory at `path`, made if missing.  InputError if nothing can be written there."""
    made = Path(path)
    try:
        made.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=made, prefix=".maquette-"):
            return made
    except OSError as error:
        raise InputError(_refused(made, option, error)) from None


def place(path: str | Path, option: str = "") -> Path:
    """A file's path, once its directory is known to take it.  InputError if it does not."""
    target = Path(path)
    if target.is_dir():
        raise InputError(Fault(option or str(target), f"{target} is a directory", "a file's path"))
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(Fault(option or str(target), f"{target} cannot be written"))
    folder(target.parent, option)
    return target


def write(path: Path, text: str) -> Path:
    """Write `text` to `path`: to a temporary file beside it, then renamed over it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _refused(path: Path, option: str, error: OSError) -> Fault:
    if isinstance(error, FileExistsError):
        return Fault(option or str(path), f"{path} is a file", "a folder")
    return Fault(option or str(path), f"{path} cannot be written: {error.strerror}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
