"""The search: price the whole space, prune by bounds, simulate what is left, explain the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from maquette.catalogue import engines
from maquette.catalogue.calibrations import find
from maquette.catalogue.models import repository
from maquette.compiler.lower import lower
from maquette.machines.doubts import sentence
from maquette.machines.types import System
from maquette.models.decoder import program
from maquette.plans.legality import PRECISIONS, native
from maquette.price.calibration import Calibration
from maquette.price.seconds import priceable
from maquette.search.assurance import assured, common, knee
from maquette.search.bounds import Load, load
from maquette.search.contest import LIMIT, Contest, Line, lines, rank
from maquette.search.deployment import Deployment
from maquette.search.evaluate import Setting, judge, run
from maquette.search.explain import EXPLAINING, explained
from maquette.search.forecast import doubts as doubts_of
from maquette.search.launch import launch
from maquette.search.screen import Screened, nondominated, screen
from maquette.search.sensitivity import doubts
from maquette.search.space import Space, space
from maquette.search.types import Answer, Candidate, Doubt, Explanation, Outcome, Question
from maquette.traffic.describe import head
from maquette.traffic.types import Requests

SCREENING = 2000  # requests that candidates are compared on
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Ground:
    """One system under one engine: what was found on it."""

    setting: Setting
    where: Space
    screened: Screened


def silent(stage: str, done: int, total: int) -> None:
    """Progress to nobody."""


def plan(question: Question, progress: Progress = silent) -> Answer:
    """The cheapest plan that keeps the targets, and why.  See `Answer`.

    Candidates are simulated on the same first requests, the winner on all of them; see
    `search.contest` for which.  A KeyboardInterrupt ends the simulations and keeps what was found.
    """
    requests = question.requests
    few = head(requests, SCREENING)
    asked = load(few, question.targets.percentile)
    grounds = _grounds(question, few, asked, progress)
    contest, interrupted = _simulate(question, grounds, progress)
    ranked = tuple(sorted(contest.outcomes.values(), key=rank))
    winner = next((o for o in ranked if o.meets), None)
    explanation = None
    if winner is not None and not interrupted:
        try:
            setting = _owner(grounds)[id(winner.candidate)].setting
            winner, explanation = explained(winner, ranked, setting, asked, question.seed, progress)
            ranked = (winner, *(o for o in ranked if o.candidate is not winner.candidate))
        except KeyboardInterrupt:
            interrupted = True
    skipped = contest.skipped
    answer = _answer(question, grounds, ranked, winner, explanation, interrupted, skipped, asked)
    unsure = _unsure(question, grounds, ranked, explanation, interrupted)
    return replace(answer, doubts=unsure)


def _unsure(
    question: Question,
    grounds: list[Ground],
    ranked: tuple[Outcome, ...],
    explanation: Explanation | None,
    interrupted: bool,
) -> tuple[Doubt, ...]:
    """What makes the winner uncertain; without one, what keeps the nearest plan from being sure."""
    if explanation is not None:
        return explanation.doubts
    if question.confidence is None or not ranked or interrupted:
        return ()
    nearest = ranked[0].candidate
    owned = _owner(grounds)[id(nearest)].setting
    setting = replace(owned, requests=head(owned.requests, EXPLAINING))
    return doubts_of(knee(setting, nearest, run(setting, nearest)), setting.calibration)


def _grounds(
    question: Question, requests: Requests, asked: Load, progress: Progress
) -> list[Ground]:
    model = program(question.model)
    stacks = list(tried(question))
    found = []
    for i, (system, name, formats) in enumerate(stacks):
        progress("pricing", i, len(stacks))
        precisions = tuple(PRECISIONS[f] for f in formats)
        priceable(system.machine)
        chosen = engines.engine(name)
        chosen = replace(chosen, policy=engines.policy(chosen, system.machine))
        schedule = lower(model, chosen)
        cal = find(system.machine, name, question.calibrations).of(question.model.name)
        setting = Setting(schedule, chosen, cal, requests, question.targets)
        where = space(model, schedule, system, chosen, precisions, question.policy, question.wish)
        screened = screen(schedule, where, cal, asked, question.targets, question.replicas)
        found.append(Ground(setting, where, screened))
    return found


def tried(question: Question) -> Iterator[tuple[System, str, tuple[str, ...]]]:
    """Every system and engine that a question asks to be tried, with the precisions on it."""
    for system in question.systems:
        own = question.precisions or (native(question.model.native, system.machine),)
        for name in question.engines or (engines.default(system.machine),):
            yield system, name, own


def _owner(grounds: list[Ground]) -> dict[int, Ground]:
    return {id(c): g for g in grounds for c in g.screened.candidates}


def _simulate(
    question: Question, grounds: list[Ground], progress: Progress
) -> tuple[Contest, bool]:
    """Compare on the first requests until the best keeps the targets on all of them too."""
    owner = _owner(grounds)
    drawn: dict[int, list[Calibration]] = {}  # of each calibration, the same for all its plans
    order = lines(c for g in grounds for c in g.screened.candidates)

    def judged(candidate: Candidate) -> Outcome:
        done = len(contest.outcomes)
        progress("simulating", done, max(done + 1, min(LIMIT, len(order))))
        return examined(owner[id(candidate)].setting, candidate)

    def examined(setting: Setting, candidate: Candidate) -> Outcome:
        trace = run(setting, candidate)
        outcome = judge(setting, candidate, trace)
        if question.confidence is None or not outcome.meets:
            return outcome
        of = id(setting.calibration)
        if of not in drawn:
            drawn[of] = common(setting, candidate, trace, question.seed)
        return assured(outcome, setting, question.confidence, drawn[of])

    known, *others = _classes(order)
    contest = Contest(judged)
    proven: set[int] = set()
    aside: dict[int, Outcome] = {}
    try:
        for apart in others:
            own = Contest(judged)
            own.run(apart)
            aside |= own.outcomes
        while True:
            contest.run(known)
            contest.rival(known)
            if contest.best is None:
                contest.outcomes = aside | contest.outcomes
            best = contest.best
            if best is None or len(question.requests) <= SCREENING or id(best) in proven:
                contest.outcomes = aside | contest.outcomes
                return contest, False
            progress("simulating all requests", len(proven), len(proven) + 1)
            candidate = best.candidate
            whole = replace(owner[id(candidate)].setting, requests=question.requests)
            outcome = examined(whole, candidate)
            proven.add(id(outcome))
            contest.outcomes[id(candidate)] = outcome
    except KeyboardInterrupt:
        contest.outcomes = aside | contest.outcomes
        return contest, True


def _classes(order: list[Line]) -> list[list[Line]]:
    """Lines of known price, and those of each system without one: dollars do not compare them."""
    known = [line for line in order if not line[0].cost[0]]
    systems = dict.fromkeys(line[0].system.name for line in order if line[0].cost[0])
    if not known and len(systems) <= 1:
        return [order]
    return [known, *([x for x in order if x[0].system.name == s] for s in systems)]


def _doubts(question: Question, ground: Ground) -> str:
    """What nobody vouches for of what prices the widest plan of a system."""
    where, setting = ground.where, ground.setting
    if not where.options:
        return ""
    widest = max(where.options, key=lambda o: o.plan.mesh.devices)
    held = Deployment(
        question.model, where.system, where.engine, widest.plan, setting.schedule,
        setting.calibration, widest.memory,
    )  # fmt: skip
    return sentence(doubts(held))


def _answer(
    question: Question,
    grounds: list[Ground],
    ranked: tuple[Outcome, ...],
    winner: Outcome | None,
    explanation: Explanation | None,
    interrupted: bool,
    skipped: int,
    asked: Load,
) -> Answer:
    infeasible: Counter[str] = Counter()
    pruned: Counter[str] = Counter()
    for g in grounds:
        infeasible.update(g.where.infeasible)
        pruned.update(g.screened.pruned)
    commands = {}
    if winner is not None:
        where = winner.candidate.system
        name = repository(question.model)
        if where.machine.style == "kernel":
            commands = dict(launch(name, question.model.native, winner.plan, where))
    prices = {g.where.system.machine.name: g.where.system.machine.price for g in grounds}
    return Answer(
        question=question,
        enumerated=sum(g.where.enumerated for g in grounds),
        infeasible=dict(infeasible),
        pruned=dict(pruned),
        outcomes=ranked,
        frontier=nondominated(p for g in grounds for p in g.screened.frontier),
        winner=winner,
        explanation=explanation,
        launch=commands,
        calibrations=_sources(grounds),
        price_dates={k: p.date for k, p in prices.items() if p is not None},
        warnings=tuple(dict.fromkeys(_warnings(question, grounds, ranked, skipped, asked))),
        interrupted=interrupted,
    )


def _sources(grounds: list[Ground]) -> dict[str, Calibration]:
    return {
        f"{g.where.system.machine.name}/{g.where.engine.name}": g.setting.calibration
        for g in grounds
    }


def _warnings(
    question: Question,
    grounds: list[Ground],
    ranked: tuple[Outcome, ...],
    skipped: int,
    asked: Load,
) -> Iterator[str]:
    if question.assumed:
        yield "no targets were given: these are assumed; --ttft and --tpot set them"
    for g in grounds:
        machine, cal = g.where.system.machine, g.setting.calibration
        if cal.basis != "fitted":
            yield f"{machine.name}: {cal.basis}; {cal.source}"
        if machine.price is None:
            yield f"{machine.name} has no price: its plans rank by devices, after all with one"
        if unsure := _doubts(question, g):
            yield f"{machine.name}: nobody vouches for {unsure}"
    if len(question.requests) > SCREENING:
        yield f"candidates were compared on the first {SCREENING} requests, the winner run on all"
    if skipped:
        yield (
            f"{LIMIT} plans were simulated: {skipped} more kinds of plan, none of them dearer than "
            "the winner, were not"
        )
    options = [o for g in grounds for o in g.where.options]
    room = max((o.longest for o in options), default=0.0)
    if options and room < asked.longest:
        yield (
            f"no plan can serve all requests: the longest has {asked.longest:,} tokens and the "
            f"largest KV cache {room:,.0f}"
        )
    if ranked and not any(o.meets for o in ranked):
        yield "no simulated plan keeps the targets; the nearest are listed"
