"""Claims about the words that attention moves, counted on programs and on nests of their tiles."""

from __future__ import annotations

from math import ceil

import numpy as np

from maquette.catalogue.calibrations import find
from maquette.catalogue.machines import machine
from maquette.compiler.derive import derive
from maquette.compiler.fuse import fuse
from maquette.compiler.kernel import Kernel
from maquette.ir.facts import work
from maquette.ir.graph import Graph
from maquette.machines.facts import bandwidth
from maquette.reproduce.bytes import apart, between_kernels
from maquette.reproduce.programs import backward, kept_blocks, mixing, recomputing, streamed
from maquette.reproduce.types import (
    Claim,
    Result,
    Row,
    beside,
    between,
    exact,
    refuted,
    shape,
    within,
)
from maquette.space.mapping.traffic import Loop, least, words

PAPER = "Dao et al., FlashAttention (arXiv 2205.14135)"
N, D, HEADS = 1024, 64, 16 * 64  # of figure 2: 16 heads, batch 64
ROWS = 64  # queries of a tile; blocks of keys are what figure 2 varies
WIDTH = 2  # bytes of fp16
A100 = "a100-40gb"


def tiled(graph: Graph, block: int) -> float:
    """Bytes of one head with blocks of keys outside and totals spilled, as Algorithm 1."""
    kernel = streamed(graph)
    spilled = tuple(r.name for s in kernel.stages if "t" in s.over for r in s.results)
    loops = (Loop("t", block), Loop("s", ROWS))
    return WIDTH * float(words(kernel, loops, spilled=spilled, stored=True).moved({}))


def flops(*graphs: Graph) -> float:
    """Flops of the products of all heads."""
    return HEADS * sum(float(work(g.values).matrix({})) for g in graphs)


def algorithm_block() -> int:
    """Keys of a block as Algorithm 1 chooses them for the scratchpad of one multiprocessor."""
    chip = machine(A100)
    units, memory = chip.compute.units, chip.tiers["smem"].capacity
    assert units is not None and memory is not None
    return ceil(float(memory.value) / float(units.value) / WIDTH / (4 * D))


def traffic() -> Result:
    """Bytes of both passes, from derived programs under the loops of the paper."""
    both = {b: HEADS * (tiled(mixing(N, D), b) + tiled(recomputing(N, D), b)) / 1e9
            for b in (256, algorithm_block(), 512)}  # fmt: skip
    own = both.pop(algorithm_block())
    note = f"blocks of {algorithm_block()} keys: M / 4d of 192 KB, as Algorithm 1 chooses"
    queries = (Loop("s", 128), Loop("t", 128))
    better = WIDTH * HEADS * float(words(streamed(mixing(N, D)), queries).moved({})) / 1e9
    keys = HEADS * tiled(mixing(N, D), 128) / 1e9
    return Result(
        (
            within("both passes, tiled", 4.4, own, "GB", 0.10, note=note),
            between("both passes, blocks of 256", 4.4, 5.2, both[256], "GB",
                    note="the published number lies between these two"),
            between("both passes, blocks of 512", 2.9, 4.4, both[512], "GB"),
            beside("forward, tiles of 128, keys outside", keys, "GB"),
            beside("forward, tiles of 128, queries outside", better, "GB",
                   "the order of FlashAttention-2: totals are not spilled"),
        )
    )  # fmt: skip


def standard() -> Result:
    """The untiled program of figure 2: bytes and flops that its stated sizes give."""
    moved = HEADS * (apart(mixing(N, D)) + apart(backward(N, D))) / 1e9
    tiles = HEADS * sum(tiled(g(N, D), algorithm_block()) for g in (mixing, recomputing)) / 1e9
    square = HEADS * N * N * WIDTH / 1e9
    masked = HEADS * (apart(mixing(N, D, True)) + apart(backward(N, D, True))) / 1e9
    kept, again = flops(mixing(N, D), backward(N, D)), flops(mixing(N, D), recomputing(N, D))
    return Result(
        (
            refuted("bytes of both passes", 40.3, moved, "GB",
                    f"Algorithm 0 moves {moved / square:.1f} tensors of N x N, 40.3 GB are "
                    f"{40.3 / square:.1f}: kernels that Algorithm 0 has not"),
            beside("the same, mask and dropout as four more kernels", masked, "GB",
                   "the published number lies between"),
            refuted("fewer bytes by", 9.2, moved / tiles, "x", "its numerator, 40.3 GB, does not"),
            refuted("flops of both passes", 66.6, kept / 1e9, "GFLOP",
                    "the products of 16 heads and batch 64 alone are 12 times as many"),
            within("more flops for fewer bytes", 75.2 / 66.6, again / kept, "x", 0.05,
                   note="scores are computed again in the backward pass"),
        )
    )  # fmt: skip


def sweep() -> Result:
    """Forward time against blocks of keys: bound by memory, then by the matrix unit."""
    chip = machine(A100)
    done = flops(mixing(N, D)) / float((chip.compute.ceiling or chip.compute.matrix)["bf16"].value)
    moved = {b: HEADS * tiled(mixing(N, D), b) for b in (64, 128, 256, 512)}
    times = {b: max(m / float(bandwidth(chip)), done) * 1e3 for b, m in moved.items()}
    rows = [beside(f"bytes, blocks of {b}", m / 1e9, "GB") for b, m in moved.items()]
    rows += [beside(f"bound on time, blocks of {b}", t, "ms") for b, t in times.items()]
    falls = times[64] / times[256]
    flat = times[256] / times[512]
    rows += [
        shape("bytes fall with every doubling", sorted(moved.values(), reverse=True)
              == list(moved.values()), moved[64] / moved[512], "x"),
        shape("time falls up to 256 keys", falls > 2, falls, "x", "from 64 to 256"),
        shape("and is flat from there", flat < 1.5, flat, "x", "256 to 512: compute binds"),
    ]  # fmt: skip
    return Result(tuple(rows), notes=("figure 2, middle; published as a picture",))


def runtime() -> Result:
    """What bytes and flops alone allow on an A100, against measured times of figure 2."""
    chip = machine(A100)
    peak, rate = float(chip.compute.matrix["bf16"].value), float(bandwidth(chip))
    rows = []
    for what, published, graphs, moved in (
        ("standard", 41.7, (mixing, backward), apart),
        ("tiled", 7.3, (mixing, recomputing), lambda g: tiled(g, algorithm_block())),
    ):
        programs = [g(N, D) for g in graphs]
        bound = max(HEADS * sum(map(moved, programs)) / rate, flops(*programs) / peak) * 1e3
        note = f"measured: {published} ms, {published / bound:.1f} times the bound"
        rows.append(shape(f"{what}: not below its bound", bound < published, bound, "ms", note))
    gain = rows[0].ours / rows[1].ours
    rows.append(within("gain of the bounds", 41.7 / 7.3, gain, "x", 0.15))
    return Result(tuple(rows), notes=("bounds of bytes and flops, nothing is fitted",))


def exponents() -> Result:
    """How the words of the best tiles grow with memory and with the sequence, in both orders."""
    rows = []
    sizes, lengths = [1 << i for i in (13, 15, 17)], [1 << i for i in (15, 17, 19)]
    for order, name in ((("s", "t"), "queries outside"), (("t", "s"), "keys outside")):
        kernel = streamed(mixing(1 << 16, D))
        falls = _slope(sizes, [_least(kernel, order, m) for m in sizes])
        rises = _slope(lengths, [_least(streamed(mixing(n, D)), order, 1 << 15) for n in lengths])
        rows.append(between(f"exponent of memory, {name}", -1.05, -0.95, falls, "", published=-1))
        rows.append(between(f"exponent of length, {name}", 1.95, 2.05, rises, "", published=2))
    notes = ("2^13 to 2^17 words on chip, 2^15 to 2^19 tokens; the best tiles that fit",)
    return Result(tuple(rows), notes=notes)


def _least(kernel: Kernel, order: tuple[str, str], memory: int) -> float:
    found = least(kernel, order, memory)
    assert found is not None
    return float(found.moved({}))


def _slope(xs: list[int], ys: list[float]) -> float:
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def sparse() -> Result:
    """Words of keys and values against the share of blocks that a mask keeps."""
    n, block = 4096, 128
    blocks = n // block
    moved = {}
    for kept in (4, 8, 16, 32):
        nest = words(streamed(kept_blocks(blocks, kept, block, D)), (Loop("i"),))
        big = sum(float(w.read({})) for w in nest.words if w.name in "kv")
        moved[kept / blocks] = big, float(nest.moved({})) - big
    whole, rest = moved[1.0]
    rows = [
        exact(f"{share:.0%} of the blocks kept", share * whole, big, "words",
              note="keys and values: in proportion")
        for share, (big, _) in moved.items() if share < 1
    ]  # fmt: skip
    dense = words(streamed(mixing(n, D)), (Loop("s", block), Loop("t", block)))
    rows.append(exact("all kept: the words of the dense program", float(dense.moved({})),
                      whole + rest, "words"))  # fmt: skip
    rows.append(exact("queries and results, whatever is kept", 2 * n * D, moved[0.125][1], "words"))
    return Result(tuple(rows))


def memory() -> Result:
    """What lies in memory beside operands and results, against the length of the sequence."""
    lengths = [1 << i for i in range(10, 17)]
    plain = [between_kernels(mixing(n, D)) for n in lengths]
    flow = [fuse(derive(mixing(n, D)).graph).arena_bytes for n in lengths]
    ends = [2 * N * WIDTH * D * 2 + b for b in (flow[0], plain[0])]
    return Result(
        (
            between("exponent of length, as written", 1.95, 2.05, _slope(lengths, plain), "",
                    published=2),
            exact("bytes between kernels, derived", 0, max(flow), "B", note="operands and results "
                  "are all there is, linear in the length"),
            beside("less memory at 1024 tokens", ends[1] / ends[0], "x",
                   "published: up to 20 times, of training with mask and dropout"),
        ),
        notes=("one head; results of the kernels of Algorithm 0, arena of the derived flow",),
    )  # fmt: skip


def speed() -> Result:
    """Forward rates on an A100: what the calibration reaches, and the gain over Algorithm 0."""
    chip = machine("a100-80gb")
    cal = find(chip, "vllm")
    rate = cal["attention"] * float(chip.compute.matrix["f16"].value)
    memory = cal["memory"] * float(bandwidth(chip))
    rows: list[Row] = [
        within("fastest forward pass", 230, rate / 1e12, "TFLOP/s", 0.10, fitted=True,
               note="fitted to this number among others"),
    ]  # fmt: skip
    why = "Algorithm 0 at the bandwidth that kernels reach: PyTorch's move more than it"
    for d in (64, 128):
        graph = mixing(2048, d)
        slow, fast = apart(graph) / memory, float(work(graph.values).matrix({})) / rate
        rows.append(between(f"gain, heads of {d}", 3, 10, slow / fast, "x", note=why))
        rows.append(between(f"gain, heads of {d}, causal", 3, 10, 2 * slow / fast, "x",
                            note="half the tiles are skipped, Algorithm 0 skips none"))  # fmt: skip
    return Result(tuple(rows), ("share of peak that attention reaches, of bandwidth too",))


FLASH = "attention"
CLAIMS = (
    Claim("attn-io", "HBM traffic of tiled attention, both passes", f"{PAPER}, figure 2", FLASH,
          traffic),
    Claim("attn-standard", "Traffic and flops of untiled attention", f"{PAPER}, figure 2", FLASH,
          standard, expected="does not reproduce"),
    Claim("attn-runtime", "Times of both passes against their bounds", f"{PAPER}, figure 2", FLASH,
          runtime, expected="shape"),
    Claim("attn-sweep", "Blocks of keys from 64 to 512", f"{PAPER}, figure 2", FLASH, sweep,
          expected="shape"),
    Claim("attn-exponents", "Words fall with memory and rise with the square of the length",
          f"{PAPER}, theorem 2 and proposition 3", FLASH, exponents),
    Claim("attn-sparse", "Masks of blocks move words in proportion to what they keep",
          f"{PAPER}, proposition 4", FLASH, sparse, expected="exact"),
    Claim("attn-memory", "Memory is linear in the sequence", f"{PAPER}, figure 3", FLASH, memory),
    Claim("attn-speed", "Rates of FlashAttention-2 on an A100",
          "Dao, FlashAttention-2 (arXiv 2307.08691), section 4", FLASH, speed,
          expected="does not reproduce"),
)  # fmt: skip
