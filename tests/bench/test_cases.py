"""What benchmarks compute is what they say: checked against the framework at small sizes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from maquette.bench import attention, block, chains, decode, rewrites  # noqa: E402
from maquette.bench.contest import OURS  # noqa: E402
from maquette.bench.forms import FORMS, formed  # noqa: E402
from maquette.bench.spellings import GROUPED, SPELLINGS  # noqa: E402
from maquette.errors import NotYet  # noqa: E402
from maquette.run.toolchain import toolchain  # noqa: E402

CAUSAL, FULL = "masked_fill causal", "scale after"
SKIP = {"torch.compile", "flex"}  # too long for a test
if toolchain() is None:
    SKIP.add(rewrites.UNSEARCHED)


def as_it_is(function):
    return function


def checked(case, tolerance=2e-5):
    expected = torch.as_tensor(case.reference())
    for name, make in case.entries.items():
        if any(name.startswith(s) for s in SKIP):
            continue
        found = case.part(make().run()).double()
        assert found.shape == expected.shape, name
        assert float((found - expected).abs().max()) < tolerance, name


@pytest.mark.parametrize(
    ("name", "key_heads"),
    [*((name, 0) for name in SPELLINGS), *((name, 2) for name in GROUPED)],
)
def test_every_spelling_says_what_its_kind_says(name, key_heads):
    shape = attention.Shape(40, heads=4, dim=16, key_heads=key_heads)
    (case,) = attention.cases([name], [shape], as_it_is)
    checked(case)
    assert case.facts["spelling"] == name


@pytest.mark.skipif(toolchain() is None, reason="no C++ compiler")
def test_both_forms_of_a_streamed_fold_say_the_same():
    (case,) = attention.cases([CAUSAL], [attention.Shape(300, 2, 16)], as_it_is, forms=True)
    checked(case)
    online, whole = (case.entries[f"{OURS} ({form})"]() for form in FORMS)
    assert "online" in online.how
    assert "whole stream" in whole.how
    assert min(online.priced, whole.priced) > 0


def test_what_is_no_streamed_fold_has_no_forms():
    x = torch.randn(8, 8)
    with pytest.raises(NotYet, match="no streamed fold"):
        formed("online", lambda x: x.sort(-1).values, (x,))()


def test_the_window_is_one():
    (case,) = attention.cases(["sliding window"], [attention.Shape(300, 1, 8)], as_it_is)
    checked(case)


def test_long_references_are_fused_in_double_precision(monkeypatch):
    monkeypatch.setattr(attention, "_WHOLE", 16)
    for name in (CAUSAL, FULL):
        (case,) = attention.cases([name], [attention.Shape(48, 2, 16)], as_it_is)
        checked(case)


def test_naive_code_without_room_takes_no_part(monkeypatch):
    monkeypatch.setattr(attention, "available", lambda: 1000)
    (case,) = attention.cases([CAUSAL], [attention.Shape(64)], as_it_is)
    with pytest.raises(NotYet, match="free"):
        case.entries["eager"]()
    case.entries["sdpa"]().run()


@pytest.mark.parametrize(("name", "pairs"), [(CAUSAL, 55), (FULL, 100), ("sliding window", 55)])
def test_flops_count_what_is_seen(name, pairs):
    shape = attention.Shape(10, heads=2, dim=8)
    assert attention.flops(shape, SPELLINGS[name][1]) == 4 * 2 * 8 * pairs


def test_the_block():
    (case,) = block.cases([24], as_it_is, block.Width(64, 4, 96))
    checked(case)


def test_chains():
    found = list(chains.cases([16], as_it_is))
    assert [c.facts["chain"] for c in found] == list(chains.CHAINS)
    for case in found:
        checked(case)
    norm = chains.layer_norm(torch.ones(2, 4) * torch.arange(4), torch.ones(4), torch.zeros(4))
    plain = torch.nn.functional.layer_norm(torch.ones(2, 4) * torch.arange(4), (4,))
    assert torch.allclose(norm, plain, atol=1e-6)


def test_decode_weights_are_close_to_what_they_stand_for():
    for case in decode.cases([(1, 64, 256), (3, 64, 256)], as_it_is):
        name = case.facts["format"]
        quantised, full = case.entries[OURS]().run(), case.entries["torch fp32"]().run()
        error = float((quantised - full).norm() / full.norm())
        assert error < {"int8": 0.01, "int4": 0.15}[name]
        expected = torch.as_tensor(case.reference())
        assert float((quantised.double() - expected).abs().max()) < 1e-3


def test_rewrites():
    for case in rewrites.cases(list(rewrites.PROGRAMS), as_it_is):
        checked(case, 1e-4)
