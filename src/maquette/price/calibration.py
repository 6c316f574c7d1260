"""Calibration: what was fitted, kept apart from what is fact.

A calibration belongs to (machine, engine, version).  It holds a few positive numbers and the
covariance of their logarithms, so a price is an interval.  Fractions are of the machine's stated
peaks and never exceed 1: no price beats the speed of light of its own machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maquette.machines.types import Style
from maquette.price.tables import Tables

Basis = Literal["fitted", "published summary", "transferred", "first principles"]

# name → (prior median, prior standard deviation of the logarithm, is a fraction, meaning)
PARAMETERS: Mapping[str, tuple[float, float, bool, str]] = {
    "matrix": (0.72, 0.20, True, "of the matrix peak that large products reach"),
    # 4-bit products on an A100 stay bound by memory up to 16-32 rows (Marlin, arXiv 2408.11743).
    "rows": (24.0, 0.70, False, "rows at which a product reaches half of that"),
    "memory": (0.80, 0.15, True, "of the memory bandwidth that streams reach"),
    "attention": (0.65, 0.35, True, "of the matrix peak that products of attention reach"),
    "kv": (0.70, 0.30, True, "of the memory bandwidth that decode attention reaches"),
    "vector": (0.50, 0.40, True, "of the vector peak that other arithmetic reaches"),
    "launch": (3.0e-6, 0.70, False, "seconds each kernel adds, or each placed part or reduction"),
    "step": (1.0e-3, 0.90, False, "host seconds per step"),
    "seq": (1.0e-5, 1.0, False, "host seconds per sequence and step"),
    "link": (0.75, 0.25, True, "of the link bandwidth that collectives reach"),
    # Small all-reduces over links of their own take 5-20 us (NCCL, RCCL, one-shot kernels).
    "collective": (1.0e-5, 0.40, False, "seconds each collective adds"),
    # Bytes in flight over the latency of memory: some 32 KB in 0.8 µs a multiprocessor, which is
    # also what the last-level cache of an H100 gives each of 132; DeepGEMM's table fits 25 µs.
    "draw": (2.5e-5, 0.35, False, "seconds in which one unit draws a megabyte"),
    # FlashAttention-3 (arXiv 2407.08608, figure 5) is at half of its best at some 400 causal keys.
    "keys": (200.0, 0.60, False, "keys a query of a prompt pays for beyond those it sees"),
    # Rows gathered by index, weights that change from tile to tile; DeepGEMM's table fits 0.95.
    "grouped": (0.85, 0.20, True, "of what plain products reach that grouped ones do"),
    # An operation of PyTorch costs the host 5-25 us before its kernel runs: binding, dispatcher and
    # driver (jiahuanglin.xyz, "From PyTorch op to kernel launch"), beside the Python of modules.
    # An H100 decodes Llama 3.1 8B in 8.4 ms eagerly and in 5.1 captured (cloudai.pt): 400 launches.
    "dispatch": (2.0e-5, 0.50, False, "host seconds to launch a kernel that no graph replays"),
    # Id, position and cache slot of a token, 8 bytes each, are written, gathered and copied to the
    # device: some 100 bytes at 5 GB/s, what one thread of NumPy moves.
    "token": (2.0e-8, 1.0, False, "host seconds per token and step"),
    # Beside all steps: HTTP, chat template, tokens, the way to another process and back.  A few
    # milliseconds in C++ (NIM, 1-4), 20-50 with a server in Python (GPUStack's rows of vLLM).
    "request": (5.0e-3, 1.0, False, "seconds of a request outside the engine"),
    # A server reads and checks requests and cuts them into tokens in one process.  First tokens of
    # NIM's clients fit best with 2.4 ms, the most that was tried; others say next to nothing.
    "accept": (2.0e-3, 0.7, False, "seconds of the server for each request, one after another"),
    # A server sends tokens one by one: text, JSON and an event of HTTP, in Python.  NIM's of 2024
    # ends at 10,000 a second, whatever the device could do; others have several processes.
    "stream": (3.0e-5, 0.8, False, "seconds of the server for each token that it sends"),
}
NAMES = tuple(PARAMETERS)
# What is beside the engine, and its deviation of the logarithm from one client and server to
# another: those of one engine differ by two to three times.
OUTSIDE = ("request", "accept", "stream")
CLIENT = 0.5
COUNTS = ("rows", "keys")  # neither a fraction nor seconds
# A factor on the time of a step leaves these: counts are no time, `grouped` acts through `matrix`,
# which it moves, and a server is beside all steps.
_STILL = (*COUNTS, "grouped", *OUTSIDE)
_SLOWER = np.array([float(n not in _STILL) * (-1.0 if PARAMETERS[n][2] else 1.0) for n in NAMES])


@dataclass(frozen=True)
class Calibration:
    """Fitted parameters with the covariance of their logarithms."""

    machine: str
    engine: str
    version: str
    values: Mapping[str, float]
    covariance: tuple[tuple[float, ...], ...]  # of log(values), in the order of NAMES
    residual: float  # standard deviation of log(measured / predicted) left unexplained
    basis: Basis
    rows: int
    source: str
    date: str = ""
    notes: tuple[str, ...] = field(default=())
    # Of "model" and "version" (of the engine) the deviation from one to the next, which is part of
    # the residual, and of those that rows were of: the logarithm of what they take of what the
    # values say, and its standard deviation.
    spreads: Mapping[str, float] = field(default_factory=dict)
    offsets: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    # By "closed ttft" and the like, what clients of such a load saw beside simulations of it: the
    # deviation of the logarithm that is neither constants nor residual (`validate.unexplained`).
    unexplained: Mapping[str, float] = field(default_factory=dict)
    # Measured kernels that go before what these constants say; never part of a file.
    tables: Tables | None = field(default=None, compare=False, repr=False)

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    @property
    def ideal(self) -> bool:
        """Whether this is the speed of light: no product has too few rows, nothing waits."""
        return not np.any(self.values["rows"])

    @property
    def vector(self) -> NDArray[np.float64]:
        return np.log([self.values[n] for n in NAMES])

    def at(self, logs: NDArray[np.float64]) -> Calibration:
        """This calibration with other values, given as logarithms in the order of NAMES."""
        capped = {
            n: min(float(np.exp(x)), 1.0) if PARAMETERS[n][2] else float(np.exp(x))
            for n, x in zip(NAMES, logs, strict=True)
        }
        return replace(self, values=capped)

    def of(self, model: str = "", version: str = "") -> Calibration:
        """This calibration as rows of one model and of one version of the engine have it.

        What no row was of changes nothing: the residual allows for it.

        >>> cal = replace(first_principles("h100", "vllm"), residual=0.13,
        ...     spreads={"version": 0.12}, offsets={"version": {"0.9": (0.1, 0.0)}})
        >>> old = cal.of(version="0.9.1")
        >>> round(old["step"] / cal["step"], 3), round(old.residual, 3), cal.of("llama-3-8b") is cal
        (1.105, 0.05, True)
        """
        named = {"model": model, "version": minor(version)}
        known = {k: self.offsets[k][n] for k, n in named.items() if n in self.offsets.get(k, ())}
        if not known:
            return self
        slower = sum(mean for mean, _ in known.values())
        gained = sum(self.spreads[k] ** 2 - sd**2 for k, (_, sd) in known.items())
        return replace(
            self.slower(float(np.exp(slower))),
            residual=max(self.residual**2 - gained, 0.0) ** 0.5,
            offsets={k: v for k, v in self.offsets.items() if k not in known},
            source=f"{self.source}; {np.exp(slower):.3g} times as long, as rows of "
            + " and ".join(named[k] for k in known),
        )

    def slower(self, factor: float) -> Calibration:
        """This calibration with all of a step taking `factor` times as long."""
        return self.at(self.vector + _SLOWER * np.log(factor))

    @property
    def scatter(self) -> float:
        """Variance of the residual about models and versions: what rows of one of each keep."""
        return max(self.residual**2 - sum(s**2 for s in self.spreads.values()), 0.0)

    def draws(self, n: int, seed: int) -> list[Calibration]:
        """`n` calibrations drawn from the posterior (log-normal).

        Draws come in pairs mirrored about the median, so that a few of them are centred.
        """
        rng = np.random.default_rng(seed)
        away = rng.multivariate_normal(np.zeros(len(NAMES)), np.array(self.covariance), -(-n // 2))
        mirrored = np.stack([away, -away], axis=1).reshape(-1, len(NAMES))
        return [self.at(self.vector + row) for row in mirrored[:n]]


Loop = Literal["offline", "open", "closed"]


def doubted(loop: Loop, quantity: str, alone: bool = False) -> str:
    """The name that `Calibration.unexplained` has for a quantity under a loop; "" for none.

    End to end follows from time per token for the most part.  The first token of one client
    `alone` waits for nothing, and an open loop has the rate that is asked for.

    >>> doubted("closed", "ttft_p99"), doubted("open", "e2e"), doubted("open", "rate")
    ('closed ttft', 'open tpot', '')
    """
    quantity = {"e2e": "tpot", "ttft_p99": "ttft"}.get(quantity, quantity)
    if (quantity == "ttft" and alone) or (quantity == "rate" and loop == "open"):
        return ""
    return f"{loop} {quantity}"


def minor(version: str) -> str:
    """A version without what rarely changes a kernel: its first two numbers.

    >>> minor("0.10.1"), minor("v1.0.0rc1"), minor("1"), minor("nightly")
    ('0.10', '1.0', '1', 'nightly')
    """
    found = re.match(r"v?(\d+\.\d+)", version.strip())
    return found[1] if found else version.strip()


def stacked(cals: Sequence[Calibration]) -> Calibration:
    """Calibrations as one that holds an array of each constant, to be priced in one walk.

    The arrays have a first axis for calibrations and three of one, for (phase, wave, row) of
    `validate.static`.
    """
    columns = {n: np.array([c.values[n] for c in cals]).reshape(-1, 1, 1, 1) for n in NAMES}
    return replace(cals[0], values=columns)  # type: ignore[arg-type]


# What is plausible of machines of other styles, where it differs: (median, deviation of the log).
# Nothing is launched from a host between operators, and a step is one call of a placed program.
# Their softmax runs beside the products, in other units of the pipeline.
_PLACED: Mapping[str, tuple[float, float]] = {
    "dispatch": (1e-12, 0.1), "token": (1e-12, 0.1), "attention": (0.50, 0.35),
    "accept": (2e-4, 1.0), "stream": (5e-6, 1.0),  # a vendor's service has many servers
}  # fmt: skip
OTHER_STYLES: Mapping[Style, Mapping[str, tuple[float, float]]] = {
    "spatial": {  # launch: of a placed part, over all sockets that share it; seq: of one, too
        **_PLACED,
        "launch": (8.0e-6, 0.7), "step": (3.0e-5, 0.7), "seq": (2.5e-6, 0.7),
        "memory": (0.85, 0.10), "kv": (0.70, 0.30), "collective": (1.0e-6, 0.7),
        "link": (0.75, 0.70),
    },
    "wafer": {  # launch: of a reduction, beside its hops; rows: one multiply-add of WSE-2's four
        **_PLACED,
        "launch": (0.5e-6, 0.7), "step": (5.0e-5, 0.7), "seq": (1.0e-7, 1.0), "rows": (3.0, 0.3),
        "matrix": (0.90, 0.10), "collective": (1.5e-5, 0.7),
    },
    "in-memory": {  # rows: a tile takes as long to load as eight products with it
        **_PLACED,
        "launch": (1.0e-5, 0.7), "step": (5.0e-5, 0.7), "seq": (1.0e-6, 1.0), "rows": (1.0, 0.7),
        "collective": (2.0e-6, 0.7),
    },
    "deterministic": {  # memory: weights are installed at 9.2 of 80 TB/s
        **_PLACED,
        "launch": (1.0e-9, 0.1), "step": (5.0e-5, 0.7), "seq": (1.0e-6, 1.0), "rows": (1.0, 0.7),
        "memory": (0.115, 0.10), "kv": (0.115, 0.3), "collective": (1.0e-5, 0.7),
    },
}  # fmt: skip


def priors(style: Style = "kernel") -> dict[str, tuple[float, float]]:
    """Median, and standard deviation of the logarithm, of every parameter, in order of NAMES.

    >>> priors()["launch"], priors("wafer")["launch"][0]
    ((3e-06, 0.7), 5e-07)
    """
    return {n: p[:2] for n, p in PARAMETERS.items()} | dict(OTHER_STYLES.get(style, {}))


def first_principles(machine: str, engine: str, style: Style = "kernel") -> Calibration:
    """The prior: what is plausible of any machine of a style, with wide intervals."""
    known = priors(style)
    variance = np.diag([known[n][1] ** 2 for n in NAMES])
    return Calibration(
        machine=machine,
        engine=engine,
        version="",
        values={n: known[n][0] for n in NAMES},
        covariance=tuple(tuple(float(x) for x in row) for row in variance),
        residual=0.25,
        basis="first principles",
        rows=0,
        source="prior of price/calibration.py; no measured row of this machine was used",
    )


def unserved(cal: Calibration) -> Calibration:
    """For a batch without a server: handed over whole, and nobody is sent tokens one by one.

    >>> unserved(first_principles("h100", "vllm"))["stream"]
    0.0
    """
    return replace(cal, values={**cal.values, "accept": 0.0, "stream": 0.0})


def transferred(donor: Calibration, machine: str, widen: float = 0.20) -> Calibration:
    """Another machine's efficiencies, borrowed: the same fractions, wider intervals.

    Nothing is known of its models and versions.
    """
    covariance = np.array(donor.covariance) + np.eye(len(NAMES)) * widen**2
    return replace(
        donor,
        machine=machine,
        covariance=tuple(tuple(float(x) for x in row) for row in covariance),
        offsets={},
        basis="transferred",
        source=f"borrowed from {donor.machine} ({donor.source})",
    )
