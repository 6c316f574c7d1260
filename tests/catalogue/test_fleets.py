"""Files of fleets: read strictly, every fault at once, with the nearest right name."""

from __future__ import annotations

from pathlib import Path

import pytest

from maquette.catalogue.fleets import fleet, names
from maquette.errors import InputError, UnknownName

GOOD = """
title = "two"
[router]
model = "llama-3.2-1b"
[[experts]]
model = "llama-3.2-1b"
count = 3
[[experts]]
model = "llama-3.2-3b"
name = "big"
[traffic]
batch = 2
requests = 8
input_tokens = 50
output_tokens = 10
[[deployments]]
name = "one"
[[deployments.systems]]
on = "h100x2"
host = { memory = "100 GB" }
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def refused(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        fleet(write(tmp_path, text), overrides)
    return [str(f) for f in caught.value.faults]


def test_a_good_file(tmp_path):
    found = fleet(write(tmp_path, GOOD))
    assert found.names == ("llama-3.2-1b-1", "llama-3.2-1b-2", "llama-3.2-1b-3", "big")
    assert found.members(["big", "llama-3.2-1b-2"]) == ("llama-3.2-1b-2", "big")
    assert found.members(["llama-3.2-1b"]) == found.names[:3]
    assert found.deployments[0].systems[0].host.memory == 100e9


def test_every_fleet_of_the_catalogue_is_read():
    assert "samba-coe" in names()
    for name in names():
        assert fleet(name).source


def test_unknown_fleet():
    with pytest.raises(UnknownName, match="did you mean samba-coe"):
        fleet("samba-co")


def test_all_faults_at_once(tmp_path):
    text = GOOD.replace('model = "llama-3.2-3b"', 'model = "lama-3.2-3b"')
    text = text.replace('on = "h100x2"', 'on = "h10x2"\nexperts = ["bigg", "llama-3.2-1b"]')
    text = text.replace('title = "two"', 'title = "two"\nengine = "vlm"\nprecision = "bf61"')
    found = "\n".join(refused(tmp_path, text))
    for part in (
        "mine.toml: engine: unknown engine 'vlm' (did you mean vllm",
        "mine.toml: precision: unknown precision 'bf61' (did you mean bf16",
        "mine.toml: experts[1].model: unknown model 'lama-3.2-3b' (did you mean llama-3.2-3b",
        "mine.toml: deployments[0].systems[0].on: unknown machine 'h10' (did you mean h100",
        "deployments[0].systems[0].experts: no expert is called 'bigg' (did you mean big",
        "mine.toml: deployments[0]: hosts no 'big'",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("count = 3", "count = 0", "experts[0].count: is 0; expected 1 to 100,000"),
        ('"100 GB"', '"-1 GB"', "host.memory: is -1e+09 B; expected 0 or more"),
        ('"100 GB"', '"1 TB", bandwidth = "0 GB/s"', "host.bandwidth: is 0 B/s"),
        ('"100 GB"', '"1 TB", links = 0', "host.links: is 0"),
        ('on = "h100x2"', 'on = "h100x2"\ntp = 0\nreserve = "-1 B"', "systems[0].tp: is 0"),
        (
            'on = "h100x2"',
            'on = "h100x2"\ntimes.big = { prefill = "0 s", step = "1 s", source = "x" }',
            "prefill: is 0 s; expected more than 0",
        ),
        ("count = 3", "counts = 3", "experts[0].counts: is not a known key (did you mean count?)"),
        ("batch = 2", "batch = 2\nrate = 3.0", "traffic.batch and rate: contradict each other"),
        ("batch = 2", "", "traffic.rate: is missing"),
        ('name = "big"', 'name = "llama-3.2-1b-2"', "experts: two are called 'llama-3.2-1b-2'"),
        ("[router]", "[popularity]\nkind = 'zipf'\n[router]", "popularity.s: is missing"),
        ("[router]", "[popularity]\ns = 1.0\n[router]", "does not go with kind 'uniform'"),
        ("[router]", "[popularity]\nkind = 'zip'\n[router]", "expected one of uniform, zipf"),
        ("[router]", "[policy]\nprefetch = 'router'\n[router]", "'router' does not go without"),
        ("[router]", "[policy]\nmax_batch = 0\n[router]", "policy.max_batch: is 0"),
        ("memory = ", "memroy = ", "host.memroy: is not a known key (did you mean memory?)"),
        ('"100 GB"', '"100 Gb"', "is in bits where bytes belong"),
        ("count = 3", "count = 3\nweight = 1.0", "weights: are listed, and the popularity is"),
        ('on = "h100x2"', 'on = "h100x2"\nset = ["machine.hbm.bandwith=4 TB/s"]', "'bandwith'"),
        ('on = "h100x2"', 'on = "h100x2"\nengine = "vlm"', "unknown engine 'vlm'"),
        (
            'on = "h100x2"',
            'on = "h100x2"\ntimes.big = { prefill = "1 s", step = "1 ms", source = "" }',
            "times.big: is no model of this fleet",
        ),
    ],
)
def test_faults(tmp_path, old, new, said):
    assert old in GOOD
    assert any(said in f for f in refused(tmp_path, GOOD.replace(old, new, 1)))


def test_popularity_by_weights(tmp_path):
    weighed = GOOD.replace("[router]", "[popularity]\nkind = 'weights'\n[router]", 1)
    assert "experts[0].weight: is missing" in refused(tmp_path, weighed)[0]
    none = weighed.replace("count = 3", "count = 3\nweight = 0.0")
    none = none.replace('name = "big"', 'name = "big"\nweight = 0.0')
    assert "all zero" in refused(tmp_path, none)[0]
    negative = none.replace("weight = 0.0", "weight = -1.0", 1)
    assert "weight: is -1; expected 0 or more" in refused(tmp_path, negative)[0]


def test_what_ifs(tmp_path):
    path = write(tmp_path, GOOD)
    found = fleet(path, [
        "fleet.experts.0.count=5",
        "fleet.popularity.kind=zipf",
        "fleet.popularity.s=1.5",
        "fleet.deployments.0.systems.0.host.links=1",
    ])  # fmt: skip
    assert len(found.names) == 6 and found.popularity.s == 1.5
    assert found.deployments[0].systems[0].host.links == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fleet.experts.2.count=5", "--set fleet.experts.2.count: '2' leads nowhere"),
        ("experts.0.count=5", "is no path into a fleet"),
        ("fleet.experts.0.count", "is no path into a fleet"),
        ("fleet.title.x=5", "'x' goes past a value"),
        ("fleet.traffic.bach=5", "traffic.bach: is not a known key (did you mean batch?)"),
        ("fleet.experts.0.count=many", "experts[0].count: 'many' is a string"),
    ],
)
def test_what_ifs_that_lead_nowhere(tmp_path, text, said):
    assert said in refused(tmp_path, GOOD, text)[0]


def test_the_file_of_the_documentation(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "composition.md").read_text("utf-8")
    found = fleet(write(tmp_path, text.split("```toml\n")[1].split("```")[0]))
    assert len(found.names) == 101 and found.policy.prefetch == "router"
    assert found.members(found.deployments[0].systems[1].experts)[0] == "chat-1"
