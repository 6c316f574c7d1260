"""What a step that is formed while the one before it runs is formed without."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator

from maquette.serve.blocks import Blocks
from maquette.serve.sequence import Seq


class Unseen:
    """Who arrived, who ended and whose prompts became computed since the last step began.

    Those that ended keep their places and blocks until the next step is formed; those whose prompts
    were computed show them to others only then.
    """

    __slots__ = ("coming", "computed", "ending", "since")

    def __init__(self) -> None:
        self.coming: deque[tuple[int, Seq]] = deque()  # with their arrivals
        self.ending: list[Seq] = []
        self.computed: list[Seq] = []
        self.since = -1  # when the last step began; -1: an idle engine sees all

    def arrived(self, until: int, live: Container[int]) -> Iterator[Seq]:
        """Those that arrived up to `until` and have not been dropped, no longer unseen."""
        coming = self.coming
        while coming and coming[0][0] <= until:
            _, seq = coming.popleft()
            if seq.rid in live:
                yield seq

    def settle(self, blocks: Blocks, live: Container[int]) -> bool:
        """See the other two; whether that may let others in."""
        if not self.ending and not self.computed:
            return False
        for seq in self.computed:
            if seq.rid in live or seq in self.ending:
                blocks.publish(seq)
        for seq in self.ending:
            blocks.release(seq)
        self.ending, self.computed = [], []
        return True
