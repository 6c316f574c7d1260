"""Fleets placed and simulated: what fits, what does not and by how much, mixtures, traces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maquette.catalogue.fleet_file import Experts, FleetFile, Router, Site, Traffic, Where
from maquette.catalogue.fleets import checked, fleet
from maquette.errors import InputError
from maquette.plans.types import Infeasible
from maquette.search.composition import compose
from maquette.serve.composition.figures import figures
from maquette.serve.composition.popularity import Popularity
from maquette.serve.composition.tiers import Host
from maquette.serve.composition.types import Swapping

SMALL = "llama-3.2-1b"  # 2.47 GB in bf16
BYTES = 2 * 1_235_814_400


def made(*systems: Where, experts: int = 40, **changes) -> FleetFile:
    plain = FleetFile(
        router=Router(SMALL, 5),
        experts=(Experts(SMALL, experts, "e"),),
        traffic=Traffic(batch=4, requests=60, input_tokens=40, output_tokens=8, lengths="fixed"),
        deployments=(Site("it", systems or (on("h100"),)),),
    )
    return checked(replace(plain, **changes))


def on(name: str = "h100", memory: float = 100e9, **more) -> Where:
    return Where(name, host=Host(memory=memory, **more.pop("host", {})), **more)


def outcome(found: FleetFile, **options):
    return compose(found, **options).served[0].outcome


def test_out_of_memory_by_how_much():
    no = outcome(made(on(memory=90e9)))
    assert isinstance(no, Infeasible) and no.unit == "GB"
    assert no.short_by == pytest.approx((40 * BYTES - 90e9) / 1e9)
    assert "40 experts of 98.9 GB in all do not fit in the cold tier of 90.0 GB" in no.reason
    assert not isinstance(outcome(made(on(memory=99e9))), Infeasible)


def test_experts_that_all_stay_need_no_cold_tier():
    done = outcome(made(on(memory=0.0), experts=31))  # and the router
    assert done.uses[0].copies == 0 and figures(done).resident_share == 1.0
    assert isinstance(outcome(made(on(memory=0.0), experts=32)), Infeasible)


def test_an_expert_larger_than_the_fast_tier():
    big = made(on("l4"), experts=1)
    big = replace(big, experts=(Experts("llama-3.1-8b", 1, "big"),))
    no = outcome(replace(big, precision="bf16", router=Router("llama-3.1-8b")))
    assert isinstance(no, Infeasible) and "does not fit in the fast tier" in no.reason
    # 16 GB of expert and 16 GB of pinned router in 24 GB, beside the KV cache.
    assert no.short_by == pytest.approx(2 * 16.06 - 24, abs=0.3)


def test_pinned_experts_leave_the_cold_tier_to_others():
    where = on(memory=30e9)
    assert isinstance(outcome(made(where)), Infeasible)
    done = outcome(made(where, policy=Swapping(fast="pinned")))
    assert not isinstance(done, Infeasible)
    assert 0 < figures(done).copied_share < 1


def test_the_most_popular_are_pinned():
    skewed = Popularity("zipf", s=1.5)
    lru = figures(outcome(made(popularity=skewed)))
    pinned = figures(outcome(made(popularity=skewed, policy=Swapping(fast="pinned"))))
    assert pinned.resident_share > 0.7 and lru.resident_share > 0.5


def test_eight_links_copy_eight_times_as_fast():
    def copies(links: int) -> int:
        where = on("h100x8", host={"links": links}, memory=2e12)
        return outcome(made(where, experts=300)).uses[0].copy_ns

    assert copies(1) / copies(8) == pytest.approx(8, rel=1e-6)


def test_groups_of_devices_run_experts_side_by_side():
    whole = outcome(made(on("h100x8", memory=1e12), experts=300))
    apart = outcome(made(on("h100x8", memory=1e12, tp=1), experts=300))
    assert [u.name for u in apart.uses] == [f"h100-sxmx8/{i}" for i in range(8)]
    assert sum(u.runs for u in apart.uses) == whole.uses[0].runs == 60
    assert len({*apart.node.tolist()}) > 1


def test_a_mixture_of_machines():
    systems = (on("h100", 0.0, experts=("e",)), Where("sn40l-node", ("rest",)))
    both = replace(
        made(on("h100", memory=0.0), experts=2),
        experts=(Experts(SMALL, 2, "e"), Experts(SMALL, 2, "rest")),
        deployments=(Site("both", systems),),
    )  # fmt: skip
    done = outcome(checked(both))
    assert {*done.node[done.expert < 2].tolist()} == {0}
    assert {*done.node[done.expert >= 2].tolist()} == {1}
    assert done.uses[0].router_ns > 0 == done.uses[1].router_ns


def test_limits_are_of_what_a_system_hosts():
    larger = replace(
        made(on(), experts=1),
        experts=(Experts(SMALL, 1, "e"), Experts("llama-3.1-8b", 1, "big")),
        deployments=(Site("both", (on(experts=("e",)), on("h100", experts=("big",)))),),
    )
    small, big = (h.cliffs.resident for h in compose(checked(larger)).served[0].hosted)
    assert small > 28 and big < 5


def test_zero_popularity_experts_take_room_and_are_never_asked_for():
    weighed = replace(
        made(), experts=(Experts(SMALL, 2, "a", 1.0), Experts(SMALL, 38, "b", 0.0)),
        popularity=Popularity("weights"),
    )  # fmt: skip
    found = compose(checked(weighed))
    assert len(found.unused) == 38 and max(found.served[0].outcome.expert) == 1
    tight = replace(weighed, deployments=(Site("it", (on(memory=90e9),)),))
    assert isinstance(outcome(tight), Infeasible)


def test_a_trace_of_models(tmp_path):
    path = tmp_path / "asked.csv"
    path.write_text("model,x\n" + "e-2,0\ne-7,1\n" * 30)
    named = made(popularity=Popularity("trace", file=str(path)))
    found = compose(named)
    assert found.served[0].outcome.expert.tolist() == [1, 6] * 30
    assert len(found.unused) == 38
    open_ended = replace(named, traffic=replace(named.traffic, requests=None))
    path.write_text("model\n" + "e-2\n" * 7)
    assert len(compose(open_ended).requests) == 7  # as many as there are rows
    path.write_text("model\n" + "e-2\n" * 58 + "f-2\ne-99\n")
    with pytest.raises(InputError) as caught:
        compose(named)
    text = str(caught.value)
    assert "row 60, model: 'f-2' is no expert" in text and "row 61" in text
    path.write_text("modle\ne-2\n")
    with pytest.raises(InputError, match=r"no column 'model' .did you mean modle"):
        compose(named)
    path.write_text("model\ne-2\n")
    with pytest.raises(InputError, match="1 rows for 60 requests"):
        compose(named)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (Where("sn40l-node", host=Host(links=1)), "has a cold tier of its own, ddr"),
        (on("h100x8", host={"links": 9}), "9 links for 8 devices; expected 1 to 8"),
        (on("h100x8", tp=3), "tp: 3 devices per expert on 8"),
        (on("h100x8", tp=1, host={"links": 4}), "4 links for 8 groups"),
    ],
)
def test_contradictions_name_their_system(where, said):
    with pytest.raises(InputError) as caught:
        compose(made(where))
    assert f"it: {where.on}" in str(caught.value) and said in str(caught.value)


def test_batches_are_no_larger_than_an_engine_runs():
    many = made(Where("sn40l-node"), policy=Swapping(max_batch=100))
    with pytest.raises(InputError, match=r"100 sequences of llama-3.2-1b, whose engine runs 64"):
        compose(many)


def test_stated_times_stand_in_for_prices():
    found = compose(fleet("samba-coe"))
    priced, stated = found.served[0], found.served[1]
    assert priced.hosted[0].basis.startswith("priced") and stated.hosted[0].basis == "stated"
    assert stated.outcome.uses[0].copies == priced.outcome.uses[0].copies  # the same requests
    copy = stated.outcome.uses[0].copy_ns / stated.outcome.uses[0].copies
    assert copy == pytest.approx(13.48e6, rel=1e-3)


def test_same_seed_same_history():
    one, two, other = (compose(made(), seed=s).served[0].outcome for s in (1, 1, 2))
    assert (one.finish_ns == two.finish_ns).all() and one.uses == two.uses
    assert (one.expert != other.expert).any()
