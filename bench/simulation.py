"""Speed and memory of the serving simulation, in one run: requests per CPU-second.

The step model is a made-up A100-like one: what is measured is the clock, not the price.  CPU time
is of this process, after start-up, with the building of the lanes and the Trace in it.

    python bench/simulation.py              # speed of both modes
    python bench/simulation.py --million    # and the peak memory of a million requests
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np

from maquette.price.step import Attention, Replica, StepModel
from maquette.serve.simulate import Mode, simulate
from maquette.traffic.types import Requests

RATE = 6.45  # requests per second and replica: about 70 % of what this replica sustains


def replica() -> Replica:
    """8.5 ms for the weights or 60 us per token, whichever is longer; 131,072 B of KV per token."""
    n, tokens = np.arange(257.0), np.arange(8193.0)
    read = 131072 / 1.6e12
    at = np.stack([2e-6 * n, 3e-4 * (n > 0)])
    slope = np.stack([read * (n > 0), 0 * n])
    attention = Attention(window=0, pair=0.85e-9, read=read, at=at, slope=slope)
    step = StepModel(5e-4, 3e-4, np.maximum(8.5e-3, 60e-6 * tokens), 1e-5 * n, (attention,))
    return Replica(step, 28_000, 16, 256, 8192, kv_bytes_per_token=131072)


def traffic(n: int, replicas: int, seed: int = 0) -> Requests:
    """Poisson arrivals; log-normal lengths of means 1,165 in and 220 out."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1e9 / (RATE * replicas), n)).astype(np.int64)
    prompt = np.maximum(rng.lognormal(np.log(1165) - 0.32, 0.8, n), 1).astype(np.int64)
    output = np.maximum(rng.lognormal(np.log(220) - 0.245, 0.7, n), 1).astype(np.int64)
    return Requests(arrival, prompt, output)


def timed(requests: Requests, replicas: int, mode: Mode = "coalesced") -> tuple[float, str]:
    """CPU seconds of one simulation, and its size in words."""
    fleet = [replica()] * replicas
    start = time.process_time()
    trace = simulate(requests, fleet, mode=mode)
    seconds = time.process_time() - start
    load = RATE * replicas / trace.sustainable_per_s
    return seconds, f"{trace.steps} steps in {trace.events} events, load {load:.2f}"


def shown(label: str, rates: list[float], note: str, unit: str = "requests/CPU-s") -> None:
    """Median and range."""
    spread = f"{min(rates):,.0f} … {max(rates):,.0f}"
    print(f"{label:34s} {statistics.median(rates):>10,.0f} {unit:15s} ({spread}; {note})")


def speed(n: int, runs: int) -> None:
    """Both modes alternately on the same input, then sixteen replicas."""
    requests = traffic(n, 1)
    fast, slow, note = [], [], ""
    for _ in range(runs):
        seconds, note = timed(requests, 1)
        fast.append(n / seconds)
        slow.append(n / timed(requests, 1, "stepwise")[0])
    shown("1 replica, coalesced", fast, note)
    shown("1 replica, stepwise oracle", slow, "the same input")
    shown("their ratio", [a / b for a, b in zip(fast, slow, strict=True)], "run by run", "times")
    many = traffic(n, 16)
    found = [timed(many, 16) for _ in range(runs)]
    shown("16 replicas, coalesced", [n / s for s, _ in found], found[0][1])


def million() -> None:
    """One simulation of a million requests; the runs before it are small beside it."""
    n = 1_000_000
    seconds, note = timed(traffic(n, 1), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"a million requests: {peak:.2f} GB at the peak, {seconds:.1f} CPU-s ({note})")


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--million", action="store_true", help="also measure the peak memory")
    options = parser.parse_args()
    speed(options.requests, max(options.runs, 1))
    if options.million:
        million()


if __name__ == "__main__":
    main()
