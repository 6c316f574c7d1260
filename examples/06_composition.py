"""Five specialists and a router, trained here, beside one model of the same cost."""

import tempfile
from pathlib import Path

import numpy as np

from maquette.serve.composition.closed import zipf
from maquette.serve.composition.executed import execute, predicted
from maquette.serve.composition.learned import Sizes, learn, quality
from maquette.serve.composition.popularity import drawn


def main(seed: int = 0, requests: int = 400) -> None:
    """Print who answers better at equal flops, and what it costs to copy an expert in."""
    made = learn(Sizes(), seed)
    found = quality(made)
    print(f"share of symbols that are right, measured here with seed {seed}")
    print("domain      routed  specialist  composition  monolith  wide monolith")
    for q in found:
        print(f"{q.domain:10}  {q.routed:6.1%}  {q.specialist:10.1%}  {q.composition:11.1%}"
              f"  {q.monolith:8.1%}  {q.wide:13.1%}")  # fmt: skip
    means = {
        k: np.mean([getattr(q, k) for q in found]) for k in ("composition", "monolith", "wide")
    }
    print("all         " + "  ".join(f"{name} {share:.1%}" for name, share in means.items()))
    print("best:", max(means, key=means.__getitem__))
    for name, flops in made.training_flops.items():
        print(f"training {name}: {flops / 1e9:.1f} GFLOP")
    print("an answer of the wide monolith takes the flops of five specialists")

    stream = drawn(zipf(len(found), 1.0).tolist(), requests, seed)
    with tempfile.TemporaryDirectory() as folder:
        run = execute(made, stream, Path(folder), slots=2)
    again = predicted(run)
    use = again.uses[0]
    print(f"\n{requests} requests with 2 of {len(found)} experts in memory: {run.right:.1%} right")
    print(f"copies: {run.copied.sum()} here, {use.copies} simulated,"
          f" {use.bytes_moved / 1e6:.1f} MB; a copy takes {run.switching:.2f} runs")  # fmt: skip
    print(f"time: {again.end_ns / run.total_ns:.2f} of what was measured, interruptions included,"
          " simulated from medians")  # fmt: skip


if __name__ == "__main__":
    main()
