"""How long the commands take from a cold start, beside what they are to take.

    python bench/commands.py [--repeats 3]

Every command is a process of its own.  Medians of wall and processor seconds over the repeats,
with the range of the wall seconds.  The trace stands for the Azure 2023 conversations: as many
requests, with the lengths and the rate of the ``chat`` preset, which is fitted to them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from maquette.catalogue.traffic import preset
from maquette.traffic import generate
from maquette.traffic.writers import write

REQUESTS = 19_366


def commands(trace: Path) -> list[tuple[str, float, list[str]]]:
    """What is run, the seconds it is to take, and its arguments."""
    plan = ["plan", "llama-3.1-70b", "--on", "h100x8", "--for", "chat", "--json"]
    replay = ["simulate", "llama-3.1-70b", "--on", "h100x8", "--trace", str(trace), "--json"]
    point = [*replay, "--draws", "0"]
    return [
        ("--help", 0.2, ["--help"]),
        ("plan llama-3.1-70b --on h100x8 --for chat", 5.0, plan),
        (f"simulate {REQUESTS:,} requests on it", 3.0, replay),
        ("the same without intervals", 3.0, point),
    ]


def timed(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one run."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "maquette", *arguments], check=True, stdout=subprocess.DEVNULL
    )
    wall, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system
    return wall, used - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "conversations.csv"
        write(generate(preset("chat").traffic, REQUESTS, seed=0), trace)
        print(f"{'command':46} {'target':>7} {'wall':>7} {'range':>15} {'CPU':>7}")
        for name, target, arguments in commands(trace):
            walls, used = zip(*(timed(arguments) for _ in range(repeats)), strict=True)
            wall, cpu = statistics.median(walls), statistics.median(used)
            spread = f"{min(walls):.2f}-{max(walls):.2f} s"
            print(f"{name:46} {target:5.1f} s {wall:5.2f} s {spread:>15} {cpu:5.2f} s")


if __name__ == "__main__":
    main()
