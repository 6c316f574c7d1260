"""Steps of vLLM v1, worked out on paper from its scheduler's rules, and what is simulated.

The rules.  Running requests come first, in order: a decoding one computes one token, an unfinished
prompt as many as the token budget has left.  When one needs a block and none is free, the last
running request loses its blocks and goes to the front of the queue.  Unless that happened, waiting
requests follow in order while budget, sequences and the blocks of their next tokens last; the
first that does not fit ends the step.  A prompt whose last token is computed gives the first
output token in that step.  Cached blocks are found at admission, but never the last token's.
Later versions admit a prompt only when all of it fits, TensorRT-LLM only when its output does too.

Every step takes a second; blocks hold 4 tokens.  A request is (arrival, prompt, output).
"""

from __future__ import annotations

import numpy as np
import pytest

from maquette.plans.types import Policy
from maquette.price.step import Replica, StepModel
from maquette.serve.simulate import Simulation, simulate
from maquette.serve.stepwise import StepLane
from maquette.traffic.types import Requests

PLAIN = Policy(admission="chunk", prefix_caching=False)
CACHED = Policy(admission="chunk")
SECOND = StepModel(1.0, 0.0, np.zeros(101), np.zeros(9), ())

Row = tuple[float, int, int]
Step = dict[int, int]  # tokens computed, by request
Hashes = tuple[tuple[int, ...], ...]


def requests(rows: tuple[Row, ...], hashes: Hashes = ()) -> Requests:
    arrival, prompt, output = (np.array(column) for column in zip(*rows, strict=True))
    found = Requests((arrival * 1e9).astype(np.int64), prompt, output)
    if not hashes:
        return found
    start = np.cumsum([0, *map(len, hashes)])
    return Requests(
        found.arrival_ns,
        prompt,
        output,
        block_hash=np.concatenate(hashes).astype(np.int64),
        block_start=start,
        block_tokens=4,
    )


def check(
    steps: list[Step],
    *rows: Row,
    budget: int = 100,
    seqs: int = 4,
    blocks: int = 100,
    hashes: Hashes = (),
    policy: Policy = PLAIN,
) -> None:
    """The oracle takes these steps; the coalesced run ends every request when they do."""
    replica = Replica(SECOND, blocks, 4, seqs, budget, kv_bytes_per_token=0.0)
    given = requests(rows, hashes)
    simulation = Simulation(given, [replica], policy, "stepwise", None, 100)
    simulation.cluster.run()
    (lane,) = simulation.lanes
    assert isinstance(lane, StepLane)
    assert [step.tokens for step in lane.log] == steps
    oracle, fast = simulation.trace(), simulate(given, [replica], policy)
    assert fast.first_token_ns.tolist() == oracle.first_token_ns.tolist()
    assert fast.finish_ns.tolist() == oracle.finish_ns.tolist()
    counts = np.bincount([sum(step.values()) for step in steps])
    assert fast.steps_by_tokens[: len(counts)].tolist() == counts.tolist()


def test_the_budget_is_split_in_order() -> None:
    """12 tokens in two pieces; what the second leaves of the budget of 10 admits two more."""
    steps = [{0: 10}, {0: 2, 1: 5, 2: 3}, {0: 1, 1: 1}, {0: 1}]
    check(steps, (0, 12, 3), (0, 5, 2), (0, 3, 1), budget=10)


def test_a_long_prompt_is_computed_in_pieces_beside_decoding() -> None:
    """Decoding takes 1 of the budget of 8, the prompt of 20 the other 7, 7 and then 6."""
    steps = [{0: 4}, {0: 1, 1: 7}, {0: 1, 1: 7}, {0: 1, 1: 6}, {0: 1, 1: 1}, {0: 1}]
    check(steps, (0, 4, 6), (0.5, 20, 2), budget=8)


def test_nobody_is_admitted_on_an_empty_budget() -> None:
    check([{0: 6}, {0: 1, 1: 3}], (0, 6, 2), (0, 3, 1), budget=6)


def test_the_last_piece_of_a_prompt_comes_before_new_ones() -> None:
    """6 + 2 of the first prompt; the second gets the 4 left of that step and 1 in the next."""
    steps = [{0: 6}, {0: 2, 1: 4}, {1: 1}]
    check(steps, (0, 8, 1), (0, 5, 1), budget=6)


def test_the_number_of_sequences_is_bounded() -> None:
    """The second ends in the first step, and the third takes its place in the next."""
    steps = [{0: 4, 1: 4}, {0: 1, 2: 4}, {0: 1}]
    check(steps, (0, 4, 3), (0, 4, 1), (0, 4, 1), seqs=2)


def test_nobody_overtakes_who_waits_for_blocks() -> None:
    """Of 4 blocks the first holds 2, then 3; the next needs 3, and the last waits though 1 fits."""
    steps = [{0: 8}, {0: 1}, {1: 9, 2: 4}]
    check(steps, (0, 8, 2), (0, 9, 1), (0, 4, 1), blocks=4)


def test_the_last_running_request_is_preempted_and_computed_anew() -> None:
    """Two blocks each; the ninth token of the first takes those of the second.

    That one had 2 tokens, so 7 + 2 are computed anew, once 3 blocks are free; that gives the third.
    """
    steps = [{0: 7, 1: 7}, {0: 1, 1: 1}, *[{0: 1}] * 4, {1: 9}, *[{1: 1}] * 3]
    check(steps, (0, 7, 6), (0, 7, 6), blocks=4)


def test_the_last_running_request_preempts_itself() -> None:
    """The first has room in its second block, the second has none: it gives up its own two."""
    steps = [{0: 6, 1: 8}, *[{0: 1}] * 3, {1: 9}]
    check(steps, (0, 6, 4), (0, 8, 2), blocks=4)


def test_a_preempted_request_waits_in_front() -> None:
    """The third arrived after the first step, fits from the fourth on, and yet follows."""
    steps = [{0: 7, 1: 7}, {0: 1, 1: 1}, *[{0: 1}] * 4, {1: 9, 2: 2}, *[{1: 1}] * 3]
    check(steps, (0, 7, 6), (0, 7, 6), (0.5, 2, 1), blocks=4, seqs=2)


def test_two_are_preempted_in_one_step_and_keep_their_order() -> None:
    """The ninth tokens of the first two take the only blocks of the last and the last but one."""
    steps = [{0: 8, 1: 8, 2: 4, 3: 3}, *[{0: 1, 1: 1}] * 4, {2: 5, 3: 4}]
    check(steps, (0, 8, 5), (0, 8, 5), (0, 4, 2), (0, 3, 2), blocks=6)


def test_two_are_preempted_one_after_the_other_and_keep_their_order() -> None:
    """Two blocks each; the ninth tokens of two take those of the third, of 6 blocks.

    The thirteenth of the first takes the three of the second; 13 and 9 tokens are computed anew.
    """
    steps = [{0: 8, 1: 8, 2: 8}, *[{0: 1, 1: 1}] * 4, *[{0: 1}] * 2]
    rows = (0, 8, 7), (0, 8, 6), (0, 8, 2)
    check([*steps, {1: 13}, {2: 9}], *rows, blocks=6)
    check([*steps, {1: 13, 2: 9}], *rows, blocks=7)


def test_admission_needs_the_blocks_of_the_next_piece_only() -> None:
    """A prompt of 20 in pieces, all 8 blocks taken at its end; its first decode step finds none.

    It is computed anew, 21 tokens, at once: the 7 of the first piece need 2 of the 5 blocks free.
    """
    steps = [
        {0: 7, 1: 1},
        *[{0: 1, 1: 7}] * 2,
        {0: 1, 1: 5},
        {0: 1},
        {0: 1, 1: 7},
        {1: 8},
        {1: 6},
    ]
    check(steps, (0, 7, 6), (0, 20, 2), blocks=8, budget=8)


def test_one_token_at_least_is_computed() -> None:
    """Both blocks of the second are cached, but the last token's is not used; the third's are."""
    hashes = ((1, 2), (1, 2), (1, 2, 3))
    check(
        [{0: 8}, {1: 4}, {2: 4}], (0, 8, 1), (1.5, 8, 1), (3.5, 12, 1), hashes=hashes, policy=CACHED
    )


def test_blocks_are_found_in_the_step_that_computes_them() -> None:
    check([{0: 8, 1: 4}], (0, 8, 1), (0, 8, 1), hashes=((1, 2), (1, 2)), policy=CACHED)


def test_a_preempted_request_finds_what_is_left_of_its_prompt() -> None:
    """Its first block is still cached: of 6 + 1 tokens, 3 are computed anew."""
    steps = [{0: 8, 1: 6}, *[{0: 1}] * 4, {1: 3}, {1: 1}]
    check(steps, (0, 8, 5), (0, 6, 3), blocks=4, hashes=((1, 2), (3,)), policy=CACHED)


@pytest.mark.parametrize(("blocks", "computed"), [(4, 4), (3, 8)])
def test_the_block_let_go_longest_ago_is_forgotten(blocks: int, computed: int) -> None:
    """Of two prompts of one block each, then another of two: a fourth block spares the oldest.

    With three blocks, the last request finds nothing of the first prompt.
    """
    rows: tuple[Row, ...] = ((0, 4, 1), (1.5, 4, 1), (3.5, 8, 1), (5.5, 8, 1))
    hashes = ((1,), (2,), (3, 4), (1, 5))
    check(
        [{0: 4}, {1: 4}, {2: 8}, {3: computed}], *rows, blocks=blocks, hashes=hashes, policy=CACHED
    )


def test_a_preempted_request_finds_its_own_blocks() -> None:
    """Of the two blocks that it lost, full by then, the first one's still holds its 4 tokens."""
    steps = [{0: 7, 1: 7}, {0: 1, 1: 1}, *[{0: 1}] * 4, {1: 5}, *[{1: 1}] * 3]
    check(steps, (0, 7, 6), (0, 7, 6), blocks=4, policy=CACHED)


def test_a_prompt_is_admitted_when_all_of_it_fits() -> None:
    """The second needs 5 blocks, not the 2 of its first piece, and 3 are free until the end."""
    steps = [{0: 7}, {0: 1}, {0: 1}, {1: 8}, {1: 8}, {1: 4}]
    whole = Policy(prefix_caching=False)
    check(steps, (0, 7, 3), (0, 20, 1), blocks=6, budget=8, policy=whole)


def test_a_request_is_admitted_when_its_output_fits() -> None:
    """12 tokens each at their ends, 3 blocks: two of 7 blocks' sequences at once, none preempted.

    The third needs 3 and finds 1 that nobody will take, though 3 are free when it arrives.
    """
    steps = [{0: 7, 1: 7}, *[{0: 1, 1: 1}] * 5, {2: 7}, *[{2: 1}] * 5]
    whole = Policy(admission="output", prefix_caching=False)
    check(steps, (0, 7, 6), (0, 7, 6), (0, 7, 6), blocks=7, policy=whole)


def test_a_watermark_of_blocks_stays_free_at_admission() -> None:
    """Of 10 blocks a tenth stays free: 2 + 7 do, 2 + 8 do not, until nobody runs."""
    free = Policy(watermark=0.1, prefix_caching=False)
    check([{0: 8, 1: 28}, {0: 1}], (0, 8, 2), (0, 28, 1), blocks=10, policy=free)
    check([{0: 8}, {0: 1}, {1: 32}], (0, 8, 2), (0, 32, 1), blocks=10, policy=free)
