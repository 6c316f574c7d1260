"""A client of an engine's HTTP interface: sends requests as traffic says, and keeps the times.

Engines that speak OpenAI's completions take prompts as token numbers and stream one event per
token, or one per few tokens.  Times are of this process's monotonic clock, taken when the bytes of
an event arrive; what a request cost the client itself is therefore part of them, and small.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, InputError, NotYet
from maquette.traffic.types import Floats, Ints, Requests

if TYPE_CHECKING:
    from aiohttp import ClientSession

Progress = Callable[[int, int], None]
SPECIAL = 16  # first token numbers, which models may give a meaning
TIMEOUT = 600.0  # seconds for one answer


@dataclass(frozen=True)
class Server:
    """An engine that answers at an address."""

    url: str  # "http://127.0.0.1:8000"
    model: str  # as the engine calls it
    vocabulary: int  # prompts are drawn from this many tokens


@dataclass(frozen=True, eq=False)
class Answers:
    """What the client saw, one entry per request in the order sent; NaN where it failed."""

    sent_s: Floats  # since the first was sent
    ttft_s: Floats
    e2e_s: Floats
    input_tokens: Ints
    output_tokens: Ints  # that came back
    gaps_s: Floats  # between events of one answer, of all answers
    late_s: Floats  # how much later than its time a request was sent; zeros in a closed loop
    seconds: float  # from the first request to the last answer
    failures: tuple[str, ...]

    @property
    def done(self) -> NDArray[np.bool_]:
        return np.isfinite(self.e2e_s)


@dataclass
class _Answer:
    """One request under way."""

    sent: float
    times: list[float] = field(default_factory=list)
    tokens: int = 0
    end: float = float("nan")
    failure: str = ""


def available() -> None:
    """Raise NotYet without aiohttp, the extra ``maquette[measure]``."""
    try:
        import aiohttp  # noqa: F401
    except ImportError:
        hint = "pip install 'maquette[measure]'"
        raise NotYet(Fault("measure", "needs the package aiohttp", hint=hint)) from None


def drive(server: Server, requests: Requests, progress: Progress = lambda *_: None) -> Answers:
    """Send `requests` to a server, open or closed as they say, and wait for every answer.

    Prompts are random tokens, others at every call, so that no prefix cache serves them.

    Raises NotYet without aiohttp, InputError when no request at all is answered.
    """
    available()
    return asyncio.run(_drive(server, requests, progress))


async def _drive(server: Server, requests: Requests, progress: Progress) -> Answers:
    from aiohttp import ClientSession, ClientTimeout, TCPConnector

    prompts = np.random.default_rng()
    bodies = [
        _body(server, prompts.integers(SPECIAL, server.vocabulary, n).tolist(), int(out))
        for n, out in zip(requests.input_tokens, requests.output_tokens, strict=True)
    ]
    found: list[_Answer] = [_Answer(0.0) for _ in bodies]
    limit = ClientTimeout(total=TIMEOUT)
    async with ClientSession(timeout=limit, connector=TCPConnector(limit=0)) as session:
        start = time.perf_counter()

        done = count(1)

        async def ask(i: int) -> None:
            found[i] = await _ask(session, server, bodies[i])
            progress(next(done), len(found))

        if requests.concurrency:
            await _closed(ask, len(bodies), requests.concurrency)
        else:
            await _open(ask, requests.arrival_ns / 1e9, start)
    return _gathered(found, requests, start)


def _body(server: Server, prompt: list[int], output: int) -> bytes:
    asked = {
        "model": server.model, "prompt": prompt, "max_tokens": output, "temperature": 0.0,
        "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    return json.dumps(asked).encode()


async def _open(ask: Callable[[int], Any], arrivals: Floats, start: float) -> None:
    """Each request at its time, whatever became of the others."""
    under_way = []
    for i, at in enumerate(arrivals):
        await asyncio.sleep(max(0.0, start + float(at) - time.perf_counter()))
        under_way.append(asyncio.create_task(ask(i)))
    await asyncio.gather(*under_way)


async def _closed(ask: Callable[[int], Any], n: int, clients: int) -> None:
    """So many clients, each sending its next request when it has its answer."""
    left = iter(range(n))

    async def client() -> None:
        for i in left:
            await ask(i)

    await asyncio.gather(*(client() for _ in range(clients)))


async def _ask(session: ClientSession, server: Server, body: bytes) -> _Answer:
    from aiohttp import ClientError

    answer = _Answer(time.perf_counter())
    head = {"Content-Type": "application/json"}
    try:
        async with session.post(f"{server.url}/v1/completions", data=body, headers=head) as reply:
            if reply.status != 200:
                answer.failure = f"HTTP {reply.status}: {(await reply.text())[:200]}"
                return answer
            async for now, event in _events(reply.content):
                _heard(answer, now, event)
        if not answer.times:
            answer.failure = answer.failure or "an answer without tokens"
        if not answer.failure:
            answer.end = answer.times[-1]
    except (ClientError, TimeoutError, OSError) as error:
        answer.failure = f"{type(error).__name__}: {error}"
    except (ValueError, TypeError, AttributeError) as error:
        answer.failure = f"an event that is none of OpenAI's completions: {error}"
    return answer


async def _events(content: Any) -> AsyncIterator[tuple[float, dict[str, Any]]]:
    """The JSON of server-sent events, each with the time at which its line was complete."""
    async for line in content:
        now = time.perf_counter()
        if line.startswith(b"data:") and not line.startswith(b"data: [DONE]"):
            yield now, json.loads(line[5:])


def _heard(answer: _Answer, now: float, event: dict[str, Any]) -> None:
    if event.get("error"):
        answer.failure = str(event["error"])[:200]
    if event.get("choices"):
        answer.times.append(now)
    if event.get("usage"):
        answer.tokens = int(event["usage"].get("completion_tokens") or 0)


def _gathered(found: list[_Answer], requests: Requests, start: float) -> Answers:
    sent = np.array([a.sent for a in found])
    first = np.array([a.times[0] if a.times else np.nan for a in found])
    end = np.array([a.end for a in found])
    failures = tuple(a.failure for a in found if a.failure)
    if not np.isfinite(end).any():
        what = f"none of {len(found)} requests was answered: {failures[0] if failures else ''}"
        raise InputError(Fault("server", what, "an engine with OpenAI's /v1/completions"))
    late = np.zeros(len(found))
    if not requests.concurrency:
        late = sent - start - requests.arrival_ns / 1e9
    gaps = [np.diff(a.times) for a in found if np.isfinite(a.end)]
    return Answers(
        sent_s=sent - sent.min(),
        ttft_s=np.where(np.isfinite(end), first - sent, np.nan),
        e2e_s=end - sent,
        input_tokens=requests.input_tokens,
        output_tokens=np.array([a.tokens or len(a.times) for a in found]),
        gaps_s=np.concatenate(gaps),
        late_s=late,
        seconds=float(np.nanmax(end) - sent.min()),
        failures=failures,
    )
