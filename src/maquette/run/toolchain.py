"""The C++ compiler of this machine: which one, its flags, and what makes its output valid here."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from maquette.errors import Fault, InputError
from maquette.run.cache import cache_folder
from maquette.run.cpp.team import team
from maquette.run.cpu import flags, model_name

# Not -ffast-math: it folds away the additions that round and breaks infinities and NaN.
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math",
    "-ffp-contract=fast", "-fno-exceptions", "-fPIC", "-shared", "-w",
)  # fmt: skip
HINT = "set CXX, install g++ or clang++, or pip install ziglang"
_PROBE = """
extern "C" int n() {
    int s = 0;
    #pragma omp parallel for schedule(dynamic, 1) num_threads(2)
    for (int i = 0; i < 2; ++i) __atomic_add_fetch(&s, 1, __ATOMIC_RELAXED);
    return s;
}"""
_PATIENCE = 120.0  # seconds after which a compiler hangs


@dataclass(frozen=True)
class Toolchain:
    """A compiler that works: its command, its flags, and what identifies its output."""

    command: tuple[str, ...]
    flags: tuple[str, ...]
    identity: str  # version, flags and processor: a kernel compiled under another is not ours
    target: frozenset[str] = frozenset()  # instruction sets that it makes code for
    alone: bool = False  # makes calls of OpenMP, and has no library that takes them

    def compile(self, text: str, target: Path, *linked: str) -> None:
        """Write the shared library of `text` to `target`.  Raises InputError with what it said.

        `linked` are libraries to link with, or options of the linker.
        """
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "kernel.cpp"
            source.write_text(text)
            command = [*self.command, *self.flags, str(source), "-o", str(target), *linked, "-lm"]
            done = _run(command)
        if done.returncode:
            said = done.stderr.strip().splitlines()[:8]
            what = f"{shlex.join(self.command)} failed with status {done.returncode}: "
            raise InputError(Fault("C++ compiler", what + "\n  ".join(said or ["(silent)"])))
        if not target.exists() or not target.stat().st_size:
            what = f"{shlex.join(self.command)} succeeded and wrote nothing"
            raise InputError(Fault("C++ compiler", what, hint=HINT))


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
    version, threads, target = _asked(command)
    chosen = FLAGS if threads == "none" else (*FLAGS, "-fopenmp")
    about = (*command, version, *chosen, model_name(), *sorted(flags()))
    return Toolchain(command, chosen, "\n".join(about), target, threads == "ours")


def _asked(command: tuple[str, ...]) -> tuple[str, str, frozenset[str]]:
    """Version, threads and instruction sets; asked once for every file that it may be."""
    program = Path(shutil.which(command[0]) or command[0]).resolve()
    seen = program.stat()
    about = f"{command}{program}{seen.st_mtime_ns}{seen.st_size}{find_spec('ziglang')}{FLAGS}"
    about += f"{model_name()}{sorted(flags())}"
    place = cache_folder() / f"compiler-{hashlib.sha256(about.encode()).hexdigest()[:24]}.json"
    try:
        held = json.loads(place.read_text())
        return str(held["version"]), str(held["threads"]), frozenset(held["target"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    done = _run([*command, "--version"])
    if done.returncode:
        said = (done.stderr.strip() or "(silent)").splitlines()[0]
        what = f"{shlex.join(command)} --version failed: {said}"
        raise InputError(Fault("C++ compiler", what, hint=HINT))
    threads, target = _threads(command), _target(command)
    with suppress(OSError):  # asked again next time
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=".making-")
        with open(handle, "w") as file:
            json.dump({"version": done.stdout, "threads": threads, "target": [*target]}, file)
        os.replace(name, place)
    return done.stdout, threads, target


def _command(wished: str) -> tuple[str, ...] | None:
    if wished.strip():
        try:
            command = tuple(shlex.split(wished))
        except ValueError as error:
            raise InputError(Fault("CXX", f"{wished!r}: {error}", hint=HINT)) from None
        if shutil.which(command[0]) is None:
            raise InputError(Fault("CXX", f"no program {command[0]!r}", hint=HINT))
        return command
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return (found,)
    # Not its c++, which would first build a standard library that generated code does not use.
    return (sys.executable, "-m", "ziglang", "cc", "-x", "c++") if find_spec("ziglang") else None


def _threads(command: tuple[str, ...]) -> str:
    """Who runs a library's threads: "openmp", "ours" where that is not found, or "none"."""
    with tempfile.TemporaryDirectory() as folder:
        probe, ours, taken = (Path(folder) / f"{n}.so" for n in ("probe", "ours", "taken"))
        source = probe.with_suffix(".cpp")
        source.write_text(_PROBE)
        if _run([*command, *FLAGS, "-fopenmp", str(source), "-o", str(probe)]).returncode:
            return "none"
        if _loads(probe):  # linkers leave symbols open
            return "openmp"
        source = ours.with_suffix(".cpp")
        source.write_text(team().text)
        if _run([*command, *FLAGS, str(source), "-o", str(ours)]).returncode:
            return "none"
        source = probe.with_suffix(".cpp")
        linked = [str(source), "-x", "none", str(ours), "-o", str(taken)]
        if _run([*command, *FLAGS, "-fopenmp", *linked]).returncode:
            return "none"
        return "ours" if _loads(taken) else "none"


def _loads(library: Path) -> bool:
    """Whether a library that counts threads loads, and counts two."""
    tell = f"import ctypes, os; raise SystemExit(ctypes.CDLL({str(library)!r}, os.RTLD_NOW).n())"
    return _run([sys.executable, "-c", tell]).returncode == 2


def _target(command: tuple[str, ...]) -> frozenset[str]:
    """Instruction sets that the compiler uses, by the macros it defines for them."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.cpp"
        source.touch()
        asked = [*command, *(f for f in FLAGS if f != "-shared"), "-dM", "-E", str(source)]
        said = _run(asked).stdout
    names = (line.split()[1].strip("_").lower() for line in said.splitlines() if line.strip())
    known = {"avx512f", "avx512dq", "avx2", "avx", "fma", "f16c", "arm_neon"}
    return frozenset("neon" if n == "arm_neon" else n for n in names if n in known)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """What a command says.  One that hangs is ended with all that it started."""
    piped = subprocess.PIPE
    try:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=piped, stderr=piped, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
    with started:
        try:
            said, complained = started.communicate(timeout=_PATIENCE)
        except BaseException as error:
            os.killpg(started.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            said, complained = "", f"no answer in {_PATIENCE:g} s"
            started.wait()
            return subprocess.CompletedProcess(command, 1, said, complained)
    return subprocess.CompletedProcess(command, started.returncode, said, complained)
