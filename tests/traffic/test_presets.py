"""The presets generate the published statistics that they say they were fitted to."""

import numpy as np
import pytest

from maquette.catalogue.traffic import preset, presets, to_toml
from maquette.errors import InputError, UnknownName
from maquette.traffic import describe, generate, lognormal, synthetic
from maquette.traffic.fit import continue_share, published
from maquette.traffic.spec import CV

NAMES = ("agent", "chat", "code", "long-chat")

# p50, p90, p99 of input and output, and requests per second, as computed from the whole traces.
PUBLISHED = {
    "code": ((1469, 5188, 7436), (13, 55, 251), 2.57),
    "chat": ((1020, 2735, 4142), (129, 424, 601), 5.53),
    "long-chat": ((6909, 27367, 85400), (350, 597, 1119), 3.4),
    "agent": ((11587, 38611, 66456), (69, 389, 768), 3.9),
}


def test_there_are_four():
    assert presets() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_generated_traffic_has_the_published_statistics(name):
    made = preset(name)
    found = describe(generate(made.traffic, 60_000, seed=1))
    inputs, outputs, rate = PUBLISHED[name]
    for lengths, expected in ((found.input_tokens, inputs), (found.output_tokens, outputs)):
        assert lengths.p50 == pytest.approx(expected[0], rel=0.03)
        assert lengths.p90 == pytest.approx(expected[1], rel=0.03)
        assert lengths.p99 == pytest.approx(expected[2], rel=0.05)
    for lengths, key in ((found.input_tokens, "input"), (found.output_tokens, "output")):
        if "mean" in made.statistics[key]:
            assert lengths.mean == pytest.approx(made.statistics[key]["mean"], rel=0.02)
    assert found.rate_per_s == pytest.approx(rate, rel=0.08 if name == "code" else 0.02)
    if "gap_cv" in made.statistics["trace"]:
        assert found.gap_cv == pytest.approx(made.statistics["trace"]["gap_cv"], rel=0.1)


@pytest.mark.parametrize(("name", "share"), [("long-chat", 0.37), ("agent", 0.64)])
def test_cacheable_share(name, share):
    made = preset(name)
    n = int(made.statistics["trace"]["requests"])
    for seed in (0, 7):
        found = describe(generate(made.traffic, n, seed)).cacheable_share
        assert found == pytest.approx(share, abs=0.02)
    assert continue_share(made.traffic, share, n) == pytest.approx(
        made.traffic.prefixes.continue_share, abs=2e-3
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_are_what_the_fit_gives(name):
    made = preset(name)
    n = int(made.statistics["trace"]["requests"])
    for key, lengths in (("input", made.traffic.input), ("output", made.traffic.output)):
        again = published(made.statistics[key], n)
        for (_, a), (_, b) in zip(lengths.quantiles, again.quantiles, strict=True):
            assert a == pytest.approx(b, rel=0.02, abs=0.2)


@pytest.mark.parametrize("name", NAMES)
def test_presets_say_where_they_come_from(name):
    made = preset(name)
    assert "computed from the whole file" in made.source
    assert "smoothest" in made.method
    assert generate(made.traffic, 5).source.startswith(f"{name}: ")
    assert made.name == made.traffic.name == name


def test_code_gaps_have_the_pauses_of_the_trace():
    gaps = np.diff(generate(preset("code").traffic, 400_000).arrival_ns) / 1e9
    pauses = gaps[gaps > 10]
    assert len(pauses) / len(gaps) == pytest.approx(12 / 8818, rel=0.2)
    assert 60 < pauses.mean() < 240  # "1 to 4 minutes"


def test_the_default_spread_is_near_that_of_conversation():
    chat = preset("chat").traffic
    for lengths, p90_within in ((chat.input, 0.20), (chat.output, 0.05)):
        u = (np.arange(100_000) + 0.5) / 100_000
        drawn = lengths.at(u)
        assert abs(drawn.std() / drawn.mean() - CV) < 0.2
        default = lognormal(mean=float(drawn.mean()), cv=CV).at(u)
        p90 = np.percentile(drawn, 90)
        assert np.percentile(default, 90) == pytest.approx(p90, rel=p90_within)
    assert synthetic(rate=1, input_tokens=1155, output_tokens=211).input.kind == "lognormal"


def test_unknown_and_broken_presets(tmp_path):
    with pytest.raises(UnknownName, match=r"unknown traffic 'chatt'.*did you mean chat"):
        preset("chatt")
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(preset("chat")).replace('"5.53 req/s"', "5.53").replace("cv =", "vc ="))
    with pytest.raises(InputError) as caught:
        preset(str(path))
    said = str(caught.value)
    assert "mine.toml: traffic.rate: 5.53 has no unit" in said
    assert "mine.toml: traffic.arrivals.vc: is not a known key" in said
    with pytest.raises(InputError, match="cannot be read"):
        preset(str(tmp_path / "none.toml"))
