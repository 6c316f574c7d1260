"""The estimate of SGLang, worked out on paper from its rules."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.errors import InputError
from maquette.plans.legality import adjusted
from maquette.plans.types import Policy
from maquette.price.step import Replica, StepModel
from maquette.serve.estimate import FALL, LEAST, START, Estimate, Reckoning
from maquette.serve.simulate import simulate
from maquette.traffic.types import Requests

SECOND = StepModel(1.0, 0.0, np.zeros(101), np.zeros(9), ())


def test_the_share_falls_with_steps_and_rises_when_some_are_retracted():
    share = Estimate(known=False)
    share.decoded(300)
    assert share.share == pytest.approx(START - 300 * FALL)
    share.decoded(1000)
    assert share.share == LEAST
    share.retracted(30, 400, 5)  # (30 + 20 · 5) / 401
    assert share.share == pytest.approx(130 / 401)
    share.reset()
    assert share.share == START and Estimate(known=True).share == 1.0


@pytest.mark.parametrize(("known", "most"), [(True, 36), (False, 51)])
def test_a_request_fits_beside_what_is_left_of_the_others(known, most):
    """Of 100 tokens two running ones may take 20 and 30 more, or 35 of them; it takes 12 new."""
    room = Reckoning(Estimate(known), 100, 1, [(20, 7), (30, 9)], cached=True)
    assert room.fits(most, 0, (12, most)) and not room.fits(most + 1, 0, (12, most + 1))
    assert not room.fits(most, 1, (12, most))  # a cached token cannot be evicted for it as well


def served(limit, blocks=60):
    """Four requests of 10 tokens that generate 9 of `limit`, and the most that ran at once."""
    policy = Policy("prefill-first", admission="estimate", output_limit=limit)
    asked = Requests(np.zeros(4, np.int64), np.full(4, 10), np.full(4, 9))
    replica = Replica(SECOND, blocks, 1, 8, 100, 0.0)
    trace = simulate(asked, [replica], policy)
    assert (trace.finish_ns > 0).all()
    return int(np.flatnonzero(trace.steps_by_seqs).max())


def test_a_limit_far_beyond_what_is_generated_keeps_others_out():
    """One that comes in wants 20 of 60 tokens, 31 with a limit of 20, 56 with one of 45.

    Known: two at once, and a third beside the 2 · 8 they will take.  A limit of 20: 0.7 · 19 beside
    the first leave 36.7 of 50.  Of 45: 0.7 · 44 leave 19.
    """
    assert [served(limit) for limit in (None, 20, 45)] == [3, 2, 1]
    assert served(None, 200) == served(20, 200) == 4


def test_only_prompts_first_are_estimated_and_only_estimates_take_a_limit():
    sglang = Policy("prefill-first", admission="estimate")
    assert adjusted(sglang, {"scheduler": "continuous"}).admission == "output"
    with pytest.raises(InputError, match="puts prompts first"):
        adjusted(Policy(), {"admission": "estimate"})
    with pytest.raises(InputError, match="output_limit"):
        adjusted(Policy(), {"output_limit": 9})
