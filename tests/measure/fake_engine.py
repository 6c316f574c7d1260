"""An engine with OpenAI's completions whose times are known: sleeps instead of a model."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Seen:
    """What the engine was asked."""

    bodies: list[dict] = field(default_factory=list)
    under_way: int = 0
    most: int = 0


@contextmanager
def fake_engine(first=0.03, gap=0.01, broken=(), silent=False, port=0):
    """Its address and what it sees; requests whose number is in `broken` fail with HTTP 500."""
    seen, up, stop = Seen(), threading.Event(), {}

    async def complete(request):
        body = await request.json()
        number = len(seen.bodies)
        seen.bodies.append(body)
        if number in broken:
            return web.Response(status=500, text="out of memory")
        seen.under_way += 1
        seen.most = max(seen.most, seen.under_way)
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        for i in range(0 if silent else body["max_tokens"]):
            await asyncio.sleep(gap if i else first)
            await _say(reply, {"choices": [{"text": ""}], "usage": None})
        usage = {"completion_tokens": body["max_tokens"]}
        await _say(reply, {"choices": [], "usage": usage})
        await reply.write(b"data: [DONE]\n\n")
        seen.under_way -= 1
        return reply

    async def serve():
        app = web.Application()
        app.router.add_post("/v1/completions", complete)
        app.router.add_get("/health", health)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        stop["port"] = site._server.sockets[0].getsockname()[1]
        stop["loop"], stop["event"] = asyncio.get_running_loop(), asyncio.Event()
        up.set()
        await stop["event"].wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert up.wait(10)
    try:
        yield f"http://127.0.0.1:{stop['port']}", seen
    finally:
        stop["loop"].call_soon_threadsafe(stop["event"].set)
        thread.join(10)


def serve_at(port, first=0.005, gap=0.001):
    """The same at a port, until the process ends; says its number first, and how it fares."""
    import os

    print(f"pid {os.getpid()} ", flush=True)
    with fake_engine(first, gap, port=port):
        threading.Event().wait()


async def health(_):
    return web.Response(text="up")


async def _say(reply, event):
    await reply.write(b"data: " + json.dumps(event).encode() + b"\n\n")
