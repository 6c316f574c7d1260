"""One request while it is in a lane."""

from __future__ import annotations

RID_BITS = 32
RID = (1 << RID_BITS) - 1
SERIAL_BITS = 40

Units = tuple[int, ...]


class Seq:
    """A waiting or running request.

    `key` orders requests: by priority, then by arrival at the lane; lowest is served first and
    preempted last.  Its low bits are the request's number `rid`.

    While it decodes, its tokens in the cache are ``base + tick`` and its last token comes with
    tick `finish`, where `tick` counts the lane's decode steps: nothing here changes from step to
    step.
    """

    __slots__ = (
        "base",
        "blocks",
        "computed",
        "deadline",
        "finish",
        "generated",
        "key",
        "last_token",
        "output",
        "priority",
        "prompt",
        "rid",
        "sharable",
        "shared",
        "target",
        "units",
    )

    def __init__(self, rid: int, prompt: int, output: int, priority: int, units: Units) -> None:
        self.rid = rid
        self.prompt = prompt
        self.output = output
        self.priority = priority
        self.units = units  # of the prefix cache, from the first; whole units only
        self.key = 0
        self.deadline = 0
        self.generated = 0  # tokens emitted when it last joined the batch
        self.target = prompt  # tokens to have in the cache before it can decode
        self.computed = 0  # of these, how many are
        self.blocks = 0  # held by this sequence alone, while it does not decode
        self.sharable = len(units)  # of these, from the first, how many it may hold with others
        self.shared = 0  # units it holds of the prefix cache
        self.last_token = -1  # when its last token came, if it was interrupted since
        self.base = 0
        self.finish = 0
