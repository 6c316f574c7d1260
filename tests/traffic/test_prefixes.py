from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.errors import InputError
from maquette.traffic import Prefixes
from maquette.traffic.prefixes import block_hashes


def rows(prefixes, lengths, seed=0):
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths, np.int64)
    hashes, start = block_hashes(
        prefixes, lengths, rng.random(len(lengths)), rng.random(len(lengths))
    )
    return [hashes[a:b].tolist() for a, b in pairwise(start)]


PREFIXES = st.builds(
    Prefixes,
    block_tokens=st.just(16),
    system_prompts=st.integers(1, 4),
    system_tokens=st.integers(1, 100),
    zipf=st.floats(0, 3),
    continue_share=st.floats(0, 1),
    turn_gap=st.integers(0, 5),
    conversations=st.integers(1, 6),
)


@given(PREFIXES, st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(0, 9))
def test_a_hash_names_one_prefix(prefixes, lengths, seed):
    made = rows(prefixes, lengths, seed)
    assert [len(r) for r in made] == [n // 16 for n in lengths]
    prefix_of = {}
    for row in made:
        assert len(set(row)) == len(row)
        for depth, block in enumerate(row):
            assert prefix_of.setdefault(block, row[:depth]) == row[:depth]


@given(PREFIXES, st.lists(st.integers(1, 300), min_size=2, max_size=60))
def test_fewer_requests_are_the_first_of_more(prefixes, lengths):
    rng = np.random.default_rng(0)
    u = rng.random((2, len(lengths)))
    n = len(lengths) // 2
    full, full_start = block_hashes(prefixes, np.array(lengths), *u)
    part, part_start = block_hashes(prefixes, np.array(lengths[:n]), *u[:, :n])
    assert part.tolist() == full[: part_start[-1]].tolist()
    assert part_start.tolist() == full_start[: n + 1].tolist()


def test_every_prompt_starts_with_a_system_prompt_by_zipf():
    made = rows(Prefixes(10, 3, 20, zipf=1.0), [50] * 30_000)
    first = np.array([r[0] for r in made])
    share = np.bincount(first, minlength=6)[[0, 2, 4]] / len(made)
    assert share == pytest.approx(np.array([6, 3, 2]) / 11, abs=0.01)
    assert all(r[1] == r[0] + 1 for r in made)


def test_a_turn_extends_the_longest_conversation_that_fits():
    made = rows(Prefixes(10, continue_share=1.0), [30, 50, 40, 60, 100])
    assert made[1][:3] == made[0]  # 50 extends 30; then 40 fits none but itself
    assert not set(made[2]) & set(made[1])
    assert made[3][:5] == made[1]
    assert made[4][:6] == made[3]


def test_a_turn_waits_for_its_gap_and_the_idle_are_given_up():
    waiting = rows(Prefixes(10, continue_share=1.0, turn_gap=2), [10, 20, 30, 40])
    assert not set(waiting[0]) & {*waiting[1], *waiting[2]}
    assert waiting[3][:1] == waiting[0]
    forgetful = rows(Prefixes(10, continue_share=1.0, conversations=1), [30, 20, 35])
    assert forgetful[2][:2] == forgetful[1]  # the 30 was given up for the 20


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"block_tokens": 0}, "block_tokens: 0 is out of range"),
        ({"continue_share": 1.5}, "continue_share: 1.5 is above 1"),
        ({"zipf": float("nan")}, "zipf: nan is out of range"),
        ({"system_prompts": 2}, "system_prompts: and system_tokens go together"),
        ({"conversations": 0}, "conversations: 0 is out of range"),
    ],
)
def test_parameters_out_of_range(fields, says):
    with pytest.raises(InputError, match=says):
        Prefixes(**fields)
