"""Write calibrations to a TOML file, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from maquette.errors import Fault, InputError
from maquette.price.calibration import NAMES, Calibration


def write(calibrations: Sequence[Calibration], path: str | Path, heading: str = "") -> None:
    """Write `calibrations` so that `catalogue.calibrations.load` reads them back.

    The file appears under its name only once it is complete.

    Raises:
        InputError: there is nothing to write or the path cannot be written.
    """
    path = Path(path)
    if not calibrations:
        raise InputError(Fault(str(path), "would hold no calibration"))
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    for cal in calibrations:
        lines += ["", *_table(cal)]
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(Fault(str(path), f"cannot be written: {error.strerror}")) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines).lstrip("\n") + "\n")
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(Fault(str(path), f"cannot be written: {error.strerror}")) from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _table(cal: Calibration) -> Iterable[str]:
    yield "[[calibration]]"
    for name in ("machine", "engine", "version", "basis", "source", "date"):
        yield f"{name} = {quoted(getattr(cal, name))}"
    yield f"rows = {cal.rows}"
    yield f"residual = {cal.residual:.6g}  # standard deviation of log(measured / predicted)"
    yield f"notes = [{', '.join(map(quoted, cal.notes))}]"
    yield f"covariance = [  # of the logarithms of: {', '.join(NAMES)}"
    for row in cal.covariance:
        yield "  [" + ", ".join(f"{x:.4g}" for x in row) + "],"
    yield "]"
    yield "[calibration.values]"
    yield from (f"{name} = {cal.values[name]:.6g}" for name in NAMES)
    if cal.spreads:
        yield "[calibration.spreads]"
        yield from (f"{kind} = {spread:.4g}" for kind, spread in cal.spreads.items())
    if cal.unexplained:
        yield "[calibration.unexplained]  # deviation of log(seen / simulated), beyond the residual"
        yield from (f"{quoted(k)} = {sd:.4g}" for k, sd in cal.unexplained.items())
    for kind, known in cal.offsets.items():
        yield f"[calibration.offsets.{kind}]  # log of the factor on time, its standard deviation"
        yield from (f"{quoted(n)} = [{a:.4g}, {b:.4g}]" for n, (a, b) in known.items())


def quoted(text: str) -> str:
    """A TOML basic string.

    >>> quoted('a "b"')
    '"a \\\\"b\\\\""'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    shown = (c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped)
    return '"' + "".join(shown) + '"'
