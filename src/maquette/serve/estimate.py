"""What SGLang reckons that requests will still take, when it decides whom to let in.

Of sgl-project/sglang python/sglang/srt: ``managers/schedule_policy.py`` (`PrefillAdder`),
``mem_cache/prefill_budget.py`` and ``managers/scheduler_components/new_token_ratio_tracker.py``.
Where requests end when they please it counts a share of what their limits leave to those running;
the share falls with each decode step, and rises when running requests did not find room.
"""

from __future__ import annotations

from collections.abc import Iterable

START, LEAST = 0.7, 0.7 * 0.14  # the share at first, and what it falls to …
FALL = (START - LEAST) / 600  # … in so many decode steps
AFTER = 20  # tokens that each is reckoned to generate once some were retracted
CLIP = 4096  # tokens that are reckoned with at most
RESERVE = 1  # tokens left for each sequence, where there is no prefix cache

State = tuple[int, int]  # of a request: tokens it will still generate, and those it has


class Estimate:
    """The share, over the steps of one lane; all of what is left where lengths are known."""

    __slots__ = ("_from", "_steps", "known")

    def __init__(self, known: bool) -> None:
        self.known = known
        self._from, self._steps = START, 0

    @property
    def share(self) -> float:
        return 1.0 if self.known else max(self._from - self._steps * FALL, LEAST)

    def decoded(self, steps: int) -> None:
        """So many steps decoded."""
        self._steps += steps

    def retracted(self, generated: int, limits: int, running: int) -> None:
        """Some found no room; `running` are left, with so many tokens, of so many at most."""
        self._from, self._steps = min(1.0, (generated + AFTER * running) / (limits + 1)), 0

    def reset(self) -> None:
        """Nothing runs."""
        self._from, self._steps = START, 0


class Reckoning:
    """The room of one step: `free` tokens, less what the running ones are reckoned to take."""

    def __init__(
        self, estimate: Estimate, free: int, page: int, running: Iterable[State], cached: bool
    ) -> None:
        self._running, self._page = list(running), page
        self._by_ends = estimate.known and not cached
        self._states: list[State] | None = None
        self._taken: list[State] = []
        self._now = free
        self._all = free - sum(min(left, CLIP) for left, _ in self._running) * estimate.share

    def piece(self, tokens: int) -> int:
        """How many of `tokens` tokens of a prompt under way are computed."""
        return min(tokens, int(self._all)) if int(self._all) > 0 else tokens

    def take(self, tokens: int, new: int, pinned: int, state: State) -> None:
        """A request is in the step with `tokens` tokens, and may generate `new`."""
        whole = -(-tokens // self._page) * self._page + self._page
        self._all -= whole + min(new, CLIP) + pinned
        self._now -= whole + pinned
        self._taken.append(state)

    def fits(self, tokens: int, pinned: int, state: State) -> bool:
        """Whether one that lacks `tokens` tokens, of cached ones `pinned`, may come in."""
        left, _ = state
        if not self._by_ends:
            return tokens + min(left, CLIP) + self._page < self._all - pinned
        whole = -(-tokens // self._page) * self._page + self._page
        return whole <= min(self._now, self._all) and self._lasts(whole, state)

    def _lasts(self, whole: int, state: State) -> bool:
        """Whether all fit until each has ended, the first ones' room counted from then on."""
        states = self._states
        if states is None:
            found = [s for s in (state, *self._running, *self._taken) if s[0] > 0]
            states = self._states = sorted(found, key=lambda s: s[0])
        elif state[0] > 0:
            at = next((i for i, s in enumerate(states) if state[0] <= s[0]), len(states) - 1)
            states.insert(max(at, 0), state)
        room = self._now - whole
        for nth, (left, held) in enumerate(states):
            many = len(states) - nth
            if room - left * many <= RESERVE * many:
                return False
            room += held
        return True
