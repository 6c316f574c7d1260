"""What compiling costs: phases of a small model; identical layers are built once."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from maquette.bench.block import Width
from maquette.bench.compiling import compiling
from maquette.report import compiling as report
from maquette.run.toolchain import toolchain

pytestmark = pytest.mark.skipif(toolchain() is None, reason="no C++ compiler")


def test_layers_of_one_form_are_built_once():
    found = compiling(3, Width(32, 2, 48), seq=8)
    assert found.layers == 3
    assert found.distinct <= found.kernels / 3 + 2
    assert min(found.recorder_s, found.builder_s, found.passes_s, found.build_s) > 0
    for process in (found.first, found.second):
        assert process.whole_s > process.beyond_s > 0 and process.call_s > 0
    document = report.document(found)
    assert document["distinct"] == found.distinct
    assert document["second"]["beyond_s"] == found.second.beyond_s
    assert len(list(report.tables(found))) == 2
