"""Measured attention: of heads with their own keys and values, or that share latents."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from maquette.ir.dtypes import dtype
from maquette.machines.facts import bandwidth
from maquette.machines.types import Machine
from maquette.price import surfaces
from maquette.price.calibration import Calibration
from maquette.price.rates import matrix_peak
from maquette.validate.names import precision
from maquette.validate.rows import Floats, Table
from maquette.validate.shelf import Shelf
from maquette.validate.sort import Bools, Sort

# What DeepSeek's heads hold, where a row does not say: keys without positions, values (V2, V3, R1,
# Kimi K2), a latent, and the part of a key that is rotated.
NOPE, VALUE, LATENT, ROPE = 128.0, 128.0, 512.0, 64.0


def attention(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    """Attention of prompts, and of decoding sequences to their cache."""
    batch, heads, kv_heads, dim = (
        table.values(c) for c in ("batch", "heads", "kv_heads", "head_dim")
    )
    kv_heads = np.where(kv_heads == 0, heads, kv_heads)  # as many as heads
    new, past = table.values("input_tokens", 1.0), table.values("context_tokens", 0.0)
    decode = _decodes(table, new, past)
    open_ = np.array([str(w).lower() in ("false", "no", "0") for w in table.words("causal")])
    pairs = batch * np.where(open_, new * (new + past), new * past + new * (new + 1) / 2)
    peak, stream = matrix_peak(machine, "bf16"), float(bandwidth(machine))
    plain = _sixteen(table)
    each = np.where(_narrow(table), 1.0, 2.0)
    nbytes = 2.0 * each * batch * (new + past) * kv_heads * dim  # keys and values
    per_pair = 4.0 * heads * dim

    def prefill(cal: Calibration) -> Floats:
        pair = surfaces.prefill(
            machine, cal, peak, heads, dim, pairs, batch * new, nbytes, new + past
        )
        return np.asarray(pair.longest + surfaces.ramp(cal) + 2 * cal["launch"])

    def attend(cal: Calibration) -> Floats:
        matrix = per_pair * pairs / (peak * cal["attention"])
        if not cal.ideal:
            matrix = matrix + pairs * heads * surfaces.softmax(machine, cal)
        memory = surfaces.stream(machine, cal["kv"], cal["draw"], nbytes)
        return np.asarray(np.maximum(matrix, memory) + surfaces.ramp(cal) + 2 * cal["launch"])

    known = np.isfinite(pairs) & np.isfinite(nbytes)
    light = per_pair * pairs / peak, nbytes / stream
    yield Sort("prefill attention", "attention", ~decode & known & plain, prefill, *light, plain)
    yield Sort("decode attention", "attention", decode & known, attend, *light, known)


def latent(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    """Latent attention: decoding over the latents themselves, prompts over what they expand to.

    Absorbed, all heads of a sequence read one cache of latents and rotated keys, which are its
    values too.  Expanded, each head of a prompt has keys and values of its own.
    """
    batch, heads = table.values("batch"), table.values("heads")
    wide, rope = table.values("latent", LATENT), table.values("rope_dim", ROPE)
    new, past = table.values("input_tokens", 1.0), table.values("context_tokens", 0.0)
    decode = _decodes(table, new, past)
    pairs = batch * (new * past + new * (new + 1) / 2)
    peak, rate = matrix_peak(machine, "bf16"), float(bandwidth(machine))
    narrow = _narrow(table)
    cached = np.where(narrow, 1.0, 2.0) * batch * (new + past) * (wide + rope)
    moved = cached + 2.0 * batch * new * heads * (2 * wide + rope)  # queries in, outputs out
    absorbed = 2.0 * heads * (2 * wide + rope)  # flops of a pair
    expanded = 2.0 * heads * (NOPE + rope + VALUE)
    held = 2.0 * batch * heads * (new * (NOPE + rope + VALUE) + (new + past) * (2 * NOPE + rope))

    def attend(cal: Calibration) -> Floats:
        matrix = absorbed * pairs / (peak * cal["attention"])
        if not cal.ideal:
            matrix = matrix + pairs * heads * surfaces.softmax(machine, cal)
        memory = surfaces.stream(machine, cal["kv"], cal["draw"], moved)
        parts = surfaces.joined(machine, cal, batch, heads * new, wide)
        beside = parts + surfaces.ramp(cal) + 2 * cal["launch"]
        return np.asarray(np.maximum(matrix, memory) + beside)

    def prefill(cal: Calibration) -> Floats:
        dim = (NOPE + rope + VALUE) / 2  # of a pair's two products, the mean
        pair = surfaces.prefill(
            machine, cal, peak, heads, dim, pairs, batch * new, held, new + past
        )
        return np.asarray(pair.longest + surfaces.ramp(cal) + 2 * cal["launch"])

    known = np.isfinite(pairs) & np.isfinite(heads)
    plain = known & ~narrow & _sixteen(table)
    light = absorbed * pairs / peak, moved / rate
    yield Sort("latent decode", "attention", decode & known, attend, *light, np.zeros_like(plain))
    light = expanded * pairs / peak, held / rate
    yield Sort("latent prefill", "attention", ~decode & plain, prefill, *light, plain)


def _decodes(table: Table, new: Floats, past: Floats) -> Bools:
    phase = np.array([str(p).lower() for p in table.words("phase")])
    return np.array(["gen" in p or "dec" in p for p in phase]) | ((new <= 1) & (past > 0))


def _sixteen(table: Table) -> Bools:
    return np.array([precision(str(w)) == ("bf16", "bf16") for w in table.words("precision")])


def _narrow(table: Table) -> Bools:
    """Rows whose cache holds fewer than 16 bits."""
    return np.array([c is not None and dtype(c[0]).bytes < 2 for c in
                     (precision(str(w)) for w in table.words("kv_precision"))])  # fmt: skip
