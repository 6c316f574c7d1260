"""Which calibration prices what, and files that are read and written whole or not at all."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from maquette.catalogue import calibrations, machines
from maquette.catalogue.calibrations import HOST, PCIE_LINK, PCIE_SD, embedded, find, load
from maquette.catalogue.engines import names as engine_names
from maquette.catalogue.machines import machine
from maquette.catalogue.write_calibrations import write
from maquette.errors import InputError
from maquette.price.calibration import NAMES, PARAMETERS, first_principles

MADE = replace(
    first_principles("h100-sxm", "sglang"), version='0.5 "rc"', basis="fitted", rows=12,
    source="rows of mine\nand more", date="2026-01-02", notes=("a", "b\\c"),
    spreads={"model": 0.1, "version": 0.2}, residual=0.25,
    offsets={"model": {"llama-3-8b": (0.05, 0.01)}, "version": {"0.4": (0.1, 0.05)}},
)  # fmt: skip


def test_shipped_calibrations_are_of_known_things_and_say_where_they_come_from():
    keys = [(c.machine, c.engine) for c in embedded()]
    assert len(set(keys)) == len(keys)
    for cal in embedded():
        assert cal.machine in machines.names() and cal.engine in engine_names()
        assert cal.basis in ("fitted", "published summary")
        assert cal.source and cal.date and cal.notes
        assert cal.residual >= 0.1  # what others published does not tell how single rows scatter


@pytest.mark.parametrize("name", machines.names())
@pytest.mark.parametrize("engine", ["vllm", "tensorrt-llm"])
def test_every_machine_has_one_and_says_which(name, engine):
    cal = find(machine(name), engine)
    assert (cal.machine, cal.engine) == (name, engine) and cal.source
    assert all(0 < cal.values[n] <= (1 if PARAMETERS[n][2] else np.inf) for n in NAMES)
    assert np.linalg.eigvalsh(np.array(cal.covariance)).min() > 0


def test_exact_before_borrowed_and_own_before_shipped():
    h100 = machine("h100-sxm")
    shipped = find(h100, "tensorrt-llm")
    assert shipped.basis == "fitted"
    own = replace(MADE, engine="tensorrt-llm")
    assert find(h100, "tensorrt-llm", [own]) is own
    assert find(h100, "tensorrt-llm", [MADE]) is shipped


def test_an_engine_at_a_version_has_what_its_rows_say():
    cal = find(machine("h100-sxm"), "sglang@0.4.3", [MADE])
    assert cal.residual == pytest.approx((0.25**2 - 0.2**2 + 0.05**2) ** 0.5)
    assert cal["step"] == pytest.approx(MADE["step"] * np.exp(0.1))
    assert cal["matrix"] == pytest.approx(MADE["matrix"] * np.exp(-0.1))
    assert find(machine("h100-sxm"), "sglang@0.9", [MADE]) is MADE
    assert not find(machine("h100-sxm"), "vllm", [MADE], shipped=False).offsets  # it has its own


def test_another_version_lends_its_fractions_and_takes_the_engines_host_overheads():
    old = find(machine("a100-40gb"), "vllm-0.6")
    new = find(machine("a100-40gb"), "vllm")
    host = next(c for c in embedded() if c.engine == "vllm")
    assert new.basis == "transferred" and "another version" in new.source
    for name in NAMES:
        assert new.values[name] == (host if name in HOST else old).values[name]
    wider = np.diag(new.covariance) >= np.diag(old.covariance)
    assert all(w for n, w in zip(NAMES, wider, strict=True) if n not in HOST)


def test_without_the_engine_anywhere_host_overheads_are_opened_wide():
    cal = find(machine("h100-sxm"), "vllm", [MADE], shipped=False)
    sd = dict(zip(NAMES, np.sqrt(np.diag(cal.covariance)), strict=True))
    assert sd["step"] > 1.0 > sd["memory"]
    assert "another engine" in cal.source and "rows of mine" in cal.source


def test_transfer_moves_the_matrix_share_by_measured_ceilings():
    donor = find(machine("h100-sxm"), "tensorrt-llm")
    cal = find(machine("b200"), "tensorrt-llm", [donor], shipped=False)
    ratio = (1745 / 2250) / (794 / 989)
    assert cal.values["matrix"] == pytest.approx(donor.values["matrix"] * ratio, rel=1e-3)
    assert "borrowed from h100-sxm" in cal.source


def test_a_machine_that_names_nobody_gets_first_principles():
    alone = replace(machine("h100-sxm"), name="mine", transfer_from="")
    assert find(alone, "vllm").basis == "first principles"
    nowhere = replace(alone, transfer_from="no-such-machine")
    assert find(nowhere, "vllm").basis == "first principles"


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "c.toml"
    write([MADE, replace(MADE, engine="vllm")], path, "two\nof them")
    back = load(path)
    assert [c.engine for c in back] == ["sglang", "vllm"]
    assert (back[0].version, back[0].source, back[0].notes) == (
        MADE.version, MADE.source, MADE.notes,
    )  # fmt: skip
    np.testing.assert_allclose(back[0].covariance, MADE.covariance, rtol=1e-3)
    assert back[0].values == pytest.approx(dict(MADE.values))
    assert (back[0].spreads, back[0].offsets) == (MADE.spreads, MADE.offsets)


def test_parameters_that_a_file_is_older_than_have_their_priors(tmp_path):
    path, kept = tmp_path / "old.toml", [n for n in NAMES if n != "collective"]
    write([MADE], path)
    at = NAMES.index("collective")
    lines = []
    for line in path.read_text().splitlines():
        if line.startswith("  ["):
            row = line.strip(" [],").split(", ")
            line = "  [" + ", ".join(row[:at] + row[at + 1 :]) + "],"
        lines.append(line)
    rows = [i for i, line in enumerate(lines) if line.startswith("  [")]
    del lines[rows[at]]
    path.write_text("\n".join(x for x in lines if not x.startswith("collective =")))
    (back,) = load(path)
    median, deviation = PARAMETERS["collective"][:2]
    assert back.values["collective"] == median and list(back.values) == list(NAMES)
    assert back.covariance[at][at] == pytest.approx(deviation**2)
    np.testing.assert_allclose(back.covariance, MADE.covariance, rtol=1e-3)
    assert all(back.values[n] == pytest.approx(MADE.values[n]) for n in kept)


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "c.toml"
    path.write_text("before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="No space left"):
        write([MADE], path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_paths_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write([MADE], tmp_path / "no" / "c.toml")
    with pytest.raises(InputError, match="would hold no calibration"):
        write([], tmp_path / "c.toml")
    assert not list(tmp_path.iterdir())


def test_every_fault_of_a_file_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    write([MADE], path)
    text = path.read_text().replace("memory = 0.8", "memory = 1.5").replace("matrix =", "matrx =")
    path.write_text(text.replace("residual = 0.25", "residual = -1"))
    with pytest.raises(InputError) as caught:
        load(path)
    said = str(caught.value)
    for part in ("values.memory: is 1.5", "values.matrix: is missing", "matrx", "residual: is -1"):
        assert part in said


def test_a_covariance_of_another_shape(tmp_path):
    path = tmp_path / "bad.toml"
    write([replace(MADE, covariance=((1.0, 0.0), (0.0, 1.0)))], path)
    with pytest.raises(InputError, match="another shape"):
        load(path)
    assert calibrations.FOLDER.is_dir()


def test_a_link_through_the_host_is_not_borrowed_from_one_that_is_not():
    pool = (replace(MADE, engine="vllm"),)
    card = find(machine("l40s"), "vllm", pool, shipped=False)
    twin = find(machine("h200"), "vllm", pool, shipped=False)
    assert card.values["link"] == PCIE_LINK and "PCIe" in card.source
    assert twin.values["link"] == pool[0].values["link"] and "PCIe" not in twin.source
    at = NAMES.index("link")
    assert card.covariance[at][at] == pytest.approx(PCIE_SD**2)


def test_an_old_version_borrows_from_another_old_one():
    assert (
        "another version on the same machine: vllm-0.6"
        in find(machine("a100-40gb"), "vllm-0.2").source
    )
