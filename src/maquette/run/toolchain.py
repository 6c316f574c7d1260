"""The C++ compiler of this machine: which one, its flags, and what makes its output valid here."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from maquette.errors import Fault, InputError
from maquette.run import host
from maquette.run.cache import cache_folder

# Not -ffast-math: it folds away the additions that round and breaks infinities and NaN.
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math",
    "-ffp-contract=fast", "-fPIC", "-shared", "-w",
)  # fmt: skip
HINT = "set CXX, install g++ or clang++, or pip install ziglang"
_PATIENCE = 120.0  # seconds after which a compiler hangs


@dataclass(frozen=True)
class Toolchain:
    """A compiler that works: its command, its flags, and what identifies its output."""

    command: tuple[str, ...]
    flags: tuple[str, ...]
    identity: str  # version, flags and processor: a kernel compiled under another is not ours

    @property
    def threaded(self) -> bool:
        return "-fopenmp" in self.flags

    def compile(self, text: str, target: Path) -> None:
        """Write the shared library of `text` to `target`.  Raises InputError with what it said."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "kernel.cpp"
            source.write_text(text)
            command = [*self.command, *self.flags, str(source), "-o", str(target), "-lm"]
            done = _run(command)
        if done.returncode:
            said = done.stderr.strip().splitlines()[:8]
            what = f"{shlex.join(self.command)} failed with status {done.returncode}: "
            raise InputError(Fault("C++ compiler", what + "\n  ".join(said or ["(silent)"])))


def toolchain() -> Toolchain | None:
    """The first compiler found: ``$CXX``, c++, g++, clang++, or the one of package ``ziglang``.

    None where there is none.  A ``$CXX`` that does not work is an error, not a reason to look on.
    """
    return _toolchain(os.environ.get("CXX", ""))


@cache
def _toolchain(wished: str) -> Toolchain | None:
    command = _command(wished)
    if command is None:
        return None
    version, threaded = _asked(command)
    flags = (*FLAGS, "-fopenmp") if threaded else FLAGS
    about = (*command, version, *flags, host.model_name(), *sorted(host.flags()))
    return Toolchain(command, flags, "\n".join(about))


def _asked(command: tuple[str, ...]) -> tuple[str, bool]:
    """The compiler's version and whether it has OpenMP; asked once for every file it may be."""
    program = Path(shutil.which(command[0]) or command[0]).resolve()
    seen = program.stat()
    about = f"{command}{program}{seen.st_mtime_ns}{seen.st_size}{find_spec('ziglang')}"
    place = cache_folder() / f"compiler-{hashlib.sha256(about.encode()).hexdigest()[:24]}.json"
    try:
        held = json.loads(place.read_text())
        return str(held["version"]), bool(held["threaded"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    done = _run([*command, "--version"])
    if done.returncode:
        said = (done.stderr.strip() or "(silent)").splitlines()[0]
        what = f"{shlex.join(command)} --version failed: {said}"
        raise InputError(Fault("C++ compiler", what, hint=HINT))
    threaded = _links(command, "-fopenmp")
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=".making-")
    with open(handle, "w") as file:
        json.dump({"version": done.stdout, "threaded": threaded}, file)
    os.replace(name, place)
    return done.stdout, threaded


def _command(wished: str) -> tuple[str, ...] | None:
    if wished.strip():
        command = tuple(shlex.split(wished))
        if shutil.which(command[0]) is None:
            raise InputError(Fault("CXX", f"no program {command[0]!r}", hint=HINT))
        return command
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return (found,)
    return (sys.executable, "-m", "ziglang", "c++") if find_spec("ziglang") else None


def _links(command: tuple[str, ...], flag: str) -> bool:
    """Whether a library that uses OpenMP can be made with `flag`."""
    text = """
        extern "C" int omp_get_max_threads();
        extern "C" int n() {
            int s = omp_get_max_threads();
            #pragma omp parallel for reduction(+ : s)
            for (int i = 0; i < 9; ++i) s += i;
            return s;
        }"""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text(text)
        target = str(Path(folder) / "probe.so")
        tried = [*command, "-std=c++17", "-fPIC", "-shared", flag, str(source), "-o", target]
        return _run(tried).returncode == 0


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer in {_PATIENCE:.0f} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
