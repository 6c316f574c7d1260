"""Starting a real engine on this machine: vLLM, of whichever Python has it.

The engine's arithmetic is bound to the first `threads` cores; its scheduler, its HTTP server and
the client run where the system puts them.  Weights are random, made by the engine from a
`config.json` alone: nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from maquette.errors import Fault, InputError, NotYet
from maquette.measure.client import Server

Tell = Callable[[str], None]
START = 600.0  # seconds an engine may take to come up
BLOCK = 16  # tokens, of the KV blocks that predictions count in
_CACHE = re.compile(r"KV cache size: ([\d,]+) tokens")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"}


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class Launch:
    """How the engine is started."""

    threads: int
    max_seqs: int = 16
    max_batched_tokens: int = 512
    longest: int = 2048  # tokens of a sequence
    kv_gb: int = 1
    python: str = sys.executable

    @property
    def cores(self) -> str:
        """The cores that compute, as vLLM's CPU worker binds them: the first ones."""
        return ",".join(map(str, cores()[: self.threads]))


@dataclass(frozen=True)
class Started:
    """An engine that is up."""

    server: Server
    version: str
    kv_blocks: int | None  # of `BLOCK` tokens, as its log says


def ready(launch: Launch) -> str:
    """The version of vLLM that `launch.python` has.

    Raises:
        NotYet: it has none.
        InputError: there is no such Python, or fewer cores than threads.
    """
    if os.name != "posix":
        raise NotYet(
            Fault("measure", "starts no engine on this system", hint="measure one by --url")
        )
    faults = []
    if shutil.which(launch.python) is None:
        faults.append(Fault("--python", f"{launch.python!r} is not there", "a Python interpreter"))
    most = len(cores())
    if not 1 <= launch.threads <= most:
        faults.append(Fault("--threads", f"{launch.threads} of {most} cores", f"1 .. {most}"))
    if faults:
        raise InputError(*faults)
    ask = "import vllm; print(vllm.__version__)"
    done = subprocess.run(
        [launch.python, "-c", ask], capture_output=True, text=True, env={**os.environ, **_OFFLINE}
    )
    if done.returncode:
        hint = "make engine sets one up; or name a Python that has it: --python PATH"
        said = (done.stderr.strip().splitlines() or [""])[-1]
        what = f"{launch.python} has no vLLM for CPUs: {said}"
        raise NotYet(Fault("engine", what, hint=hint))
    return done.stdout.split()[-1]


def command(launch: Launch, model: Path, port: int) -> list[str]:
    """What starts vLLM's server on a port; a few seconds of work are traded for a quick start."""
    return [
        launch.python, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(model), "--served-model-name", "model", "--port", str(port),
        "--host", "127.0.0.1", "--load-format", "dummy", "--skip-tokenizer-init",
        "--dtype", "bfloat16", "--max-model-len", str(launch.longest),
        "--max-num-seqs", str(launch.max_seqs),
        "--max-num-batched-tokens", str(launch.max_batched_tokens),
        "--enforce-eager", "--no-async-scheduling", "--no-enable-prefix-caching",
        "--no-enable-log-requests",
    ]  # fmt: skip


def environment(launch: Launch) -> Mapping[str, str]:
    """Variables of the engine's process."""
    return {
        **os.environ, **_OFFLINE, "VLLM_CPU_KVCACHE_SPACE": str(launch.kv_gb),
        "VLLM_CPU_OMP_THREADS_BIND": launch.cores,
    }  # fmt: skip


@contextmanager
def engine(
    launch: Launch,
    version: str,
    model: Path,
    vocabulary: int,
    log: Path,
    tell: Tell = lambda _: None,
) -> Iterator[Started]:
    """A vLLM server with the model in folder `model`, for as long as the context lasts.

    A signal to end this process ends the engine too.  Raises InputError with the end of its log
    where it does not come up.
    """
    port = _free_port()
    with open(log, "w") as out:
        process = subprocess.Popen(
            command(launch, model, port), stdout=out, stderr=subprocess.STDOUT,
            env=environment(launch), start_new_session=True,
        )  # fmt: skip
        before = _on_signals()
        try:
            tell(f"starting vLLM {version}")
            _wait(process, port, log)
            server = Server(f"http://127.0.0.1:{port}", "model", vocabulary)
            yield Started(server, version, _blocks(log))
        finally:
            _stop(process)
            for sign, handler in before.items():
                signal.signal(sign, handler)


def _on_signals() -> dict[int, Any]:
    """Let signals that end a process unwind it, so that what it started is stopped."""
    if threading.current_thread() is not threading.main_thread():
        return {}

    def leave(sign: int, _: object) -> None:
        raise SystemExit(128 + sign)

    return {int(s): signal.signal(s, leave) for s in (signal.SIGTERM, signal.SIGHUP)}


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until, direct = time.monotonic() + START, build_opener(ProxyHandler({}))
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with direct.open(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.25)
    said = " | ".join(_last(log.read_text(errors="replace").splitlines()))
    raise InputError(Fault(str(log), f"the engine did not come up: {said}"))


def _last(lines: Sequence[str]) -> Sequence[str]:
    """The end of a log, what it calls errors first."""
    wrong = [line.strip() for line in lines if "Error" in line]
    return [line[:300] for line in (wrong or [*lines])[-3:]]


def _blocks(log: Path) -> int | None:
    """KV blocks of `BLOCK` tokens that the engine says it has."""
    found = _CACHE.search(log.read_text(errors="replace"))
    return None if found is None else int(found[1].replace(",", "")) // BLOCK


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the engine with all its processes."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(20)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
