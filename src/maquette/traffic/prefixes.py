"""Shared prefixes: which blocks of a prompt an earlier request has had already.

Two sources of sharing.  *System prompts*: every conversation starts with one of a few, by Zipf
popularity.  *Conversations*: a request may continue one, and then its prompt begins with the
whole prompt of the turn before.  Lengths are drawn beforehand, so a request continues, of the
conversations going on, the longest that fits into its prompt.  Waiting is counted in requests, so
traffic at another rate is the same traffic on another clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass

import numpy as np

from maquette.errors import Fault, InputError
from maquette.traffic.types import Floats, Ints


@dataclass(frozen=True)
class Prefixes:
    """How prompts share their beginnings.  Raises InputError for a parameter out of range."""

    block_tokens: int = 512  # tokens per hash
    system_prompts: int = 0  # how many there are
    system_tokens: int = 0  # how long each is, part of the input length
    zipf: float = 1.0  # the k-th system prompt has popularity k**-zipf
    continue_share: float = 0.0  # of requests that continue a conversation if one fits
    turn_gap: int = 0  # requests between one turn and the earliest next one of a conversation
    conversations: int = 512  # waiting for a turn; the longest idle is given up for a new one

    def __post_init__(self) -> None:
        least = {
            "block_tokens": 1, "system_prompts": 0, "system_tokens": 0, "zipf": 0,
            "continue_share": 0, "turn_gap": 0, "conversations": 1,
        }  # fmt: skip
        faults = [
            Fault(name, f"{getattr(self, name)} is out of range", f"{low} or more")
            for name, low in least.items()
            if not getattr(self, name) >= low
        ]
        if self.continue_share > 1:
            faults.append(Fault("continue_share", f"{self.continue_share} is above 1"))
        if (self.system_prompts > 0) != (self.system_tokens > 0):
            faults.append(Fault("system_prompts", "and system_tokens go together"))
        if faults:
            raise InputError(*faults)

    def __str__(self) -> str:
        system = f"{self.system_prompts} system prompts of {self.system_tokens} tokens"
        turns = f"{self.continue_share:.3g} of requests continue one of {self.conversations}"
        return f"{system}, {turns} conversations, {self.turn_gap} requests later or more"


def block_hashes(
    prefixes: Prefixes, input_tokens: Ints, u_system: Floats, u_continue: Floats
) -> tuple[Ints, Ints]:
    """`block_hash` and `block_start` of Requests with these lengths: full blocks only.

    >>> shared = Prefixes(block_tokens=10, system_prompts=1, system_tokens=20)
    >>> hashes, start = block_hashes(shared, np.array([30, 25, 9]), np.ones(3) / 2, np.ones(3) / 2)
    >>> hashes.tolist(), start.tolist()
    ([0, 1, 4, 0, 1], [0, 3, 5, 5])
    """
    blocks = input_tokens // prefixes.block_tokens
    start = np.concatenate(([0], np.cumsum(blocks)))
    parent = _parents(prefixes, blocks, u_continue)
    turns = [(child, int(parent[child])) for child in np.flatnonzero(parent >= 0).tolist()]
    system_blocks = prefixes.system_tokens // prefixes.block_tokens
    hashes = prefixes.system_prompts * system_blocks + np.arange(start[-1])
    if prefixes.system_prompts:
        weight = np.arange(1.0, prefixes.system_prompts + 1) ** -prefixes.zipf
        chosen = np.searchsorted(np.cumsum(weight[:-1]) / weight.sum(), u_system)
        for child, mother in turns:
            chosen[child] = chosen[mother]
        depth = np.arange(start[-1]) - np.repeat(start[:-1], blocks)
        at = np.flatnonzero(depth < system_blocks)
        hashes[at] = np.repeat(chosen, blocks)[at] * system_blocks + depth[at]
    for child, mother in turns:
        before = hashes[start[mother] : start[mother + 1]]
        hashes[start[child] : start[child] + len(before)] = before
    return hashes.astype(np.int64), start.astype(np.int64)


def _parents(prefixes: Prefixes, blocks: Ints, u: Floats) -> Ints:
    """The request whose prompt each request's prompt continues, or -1."""
    parent = np.full(len(blocks), -1, np.int64)
    if prefixes.continue_share == 0:
        return parent
    lengths: list[int] = []  # of the conversations that may go on, sorted,
    last: list[int] = []  # and the last request of each
    turns: deque[tuple[int, int]] = deque()  # (request, length) whose conversation may not yet
    idle: deque[tuple[int, int]] = deque()  # those that may, by age; some have gone on since
    continues = (u < prefixes.continue_share).tolist()
    gone = bytearray(len(blocks))
    for request, length in enumerate(blocks.tolist()):
        while turns and turns[0][0] < request - prefixes.turn_gap:
            turn = turns.popleft()
            if len(last) == prefixes.conversations:
                oldest, size = idle.popleft()
                while gone[oldest]:
                    oldest, size = idle.popleft()
                index = last.index(oldest, bisect_left(lengths, size))
                del last[index], lengths[index]
            at = bisect_right(lengths, turn[1])
            last.insert(at, turn[0])
            lengths.insert(at, turn[1])
            idle.append(turn)
        at = bisect_right(lengths, length)
        if continues[request] and at:
            parent[request] = mother = last.pop(at - 1)
            gone[mother] = 1
            del lengths[at - 1]
        if length:
            turns.append((request, length))
    return parent
