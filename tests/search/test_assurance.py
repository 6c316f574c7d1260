"""Plans that keep their targets with confidence, against running every draw."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
from scipy.stats import norm

from maquette import api
from maquette.catalogue.machines import systems
from maquette.catalogue.models import model
from maquette.errors import InputError
from maquette.search.assurance import DRAWS, assured, common
from maquette.search.bounds import load
from maquette.search.evaluate import chance, figures, judge, run
from maquette.search.plan import _grounds, plan, silent
from maquette.search.types import Question, Targets
from maquette.traffic import generate, synthetic

TARGETS = Targets(1.0, 0.0105, 95.0)


def question(confidence):
    requests = generate(synthetic(rate=6.0, input_tokens=400, output_tokens=60), 120, seed=3)
    on = systems("h100x2")
    return Question(model("llama-3.1-8b"), on, requests, TARGETS, confidence=confidence)


@pytest.fixture(scope="module")
def answers():
    return {share: plan(question(share)) for share in (None, 0.5, 0.95)}


def test_the_winner_keeps_its_targets_in_the_share_asked_for(answers):
    for share in (0.5, 0.95):
        winner = answers[share].winner
        assert winner is not None
        assert winner.probability >= share


def test_confidence_costs_no_less(answers):
    costs = [answers[s].winner.candidate.cost for s in (None, 0.5, 0.95)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]  # the targets are tight enough for it to matter


def test_what_is_not_sure_enough_says_so(answers):
    unsure = [o for o in answers[0.95].outcomes if any("a chance of" in m for m in o.misses)]
    assert unsure
    assert all(not o.meets and o.probability < 0.95 and o.margin < 1 for o in unsure)


def test_what_to_measure_first_is_told(answers):
    found = answers[0.95].doubts
    assert [d.share for d in found] == sorted((d.share for d in found), reverse=True)
    assert 0 < found[0].share <= 1 and found[0].meaning
    assert found == answers[0.95].explanation.doubts


def test_the_nearest_plan_says_what_keeps_it_from_being_sure():
    """A target just kept on one device at the most likely constants is missed in many draws."""
    alone = replace(question(None), systems=systems("h100"), targets=Targets(1.0, 0.05, 95.0))
    sure = plan(alone)
    assert sure.winner is not None
    fast = min(o.metrics.tpot[95.0] for o in sure.outcomes)
    answer = plan(replace(alone, targets=Targets(1.0, 1.005 * fast, 95.0), confidence=0.95))
    assert answer.winner is None and answer.outcomes
    assert {d.name for d in answer.doubts} >= {"residual", "memory"}


def test_the_share_is_that_of_all_draws():
    asked = question(None)
    few = load(asked.requests, 95.0)
    (ground,) = _grounds(asked, asked.requests, few, silent)
    setting = ground.setting
    candidate = max(ground.screened.candidates, key=lambda c: c.cost)
    trace = run(setting, candidate)
    outcome = judge(setting, candidate, trace)
    draws = common(setting, candidate, trace, 0)
    assert len(draws) == DRAWS
    beside = setting.calibration.unexplained
    kept = sum(chance(run(setting, candidate, c), TARGETS, beside) for c in draws) / DRAWS
    assert assured(outcome, setting, max(kept, 0.05), draws).probability == pytest.approx(kept)
    assert assured(outcome, setting, max(kept, 0.05), draws).meets == (kept > 0)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(InputError, match="confidence"):
        api.plan("llama-3.1-8b", "h100", confidence=share)


def test_what_no_simulation_knows_of_clients_lowers_the_chance():
    """Of certain constants the chance is a normal's, and confidence asks for so much room."""
    asked = question(None)
    (ground,) = _grounds(asked, asked.requests, load(asked.requests, 95.0), silent)
    doubtful = replace(ground.setting.calibration, unexplained={"open ttft": 0.4})
    setting = replace(ground.setting, calibration=doubtful)
    candidate = max(ground.screened.candidates, key=lambda c: c.cost)
    outcome = judge(setting, candidate, run(setting, candidate))
    at = figures(run(setting, candidate), 95.0)["ttft_s"]
    wide = replace(setting, targets=Targets(at * 1.3, 1.0, 95.0))
    sure = norm.cdf(log(1.3) / 0.4)
    found = assured(outcome, wide, sure - 0.01, [doubtful])
    assert found.probability == pytest.approx(sure) and found.meets
    assert not assured(outcome, wide, sure + 0.01, [doubtful]).meets
