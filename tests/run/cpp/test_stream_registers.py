"""Accumulators of micro-kernels stay in registers: nothing of them is spilled to the stack."""

import re
import subprocess

import pytest

from maquette.compiler.tile.stream_sizes import Sizes
from maquette.run.cpp.stream import emit
from maquette.run.host import processor
from maquette.run.toolchain import toolchain
from run.cpp.folds import Case, tiling
from run.cpp.meaning import needs_compiler

HOST = processor()
WIDE = pytest.mark.skipif(HOST.registers < 32, reason="register tiles of 32 vector registers")


@needs_compiler
@WIDE
@pytest.mark.parametrize("tile", [(4, 6), (3, 8), (2, 12), (5, 4)], ids=str)
def test_no_spills(tile, tmp_path):
    vectors, scalars = tile
    block = vectors * HOST.lanes
    sizes = Sizes(block, block, 10 * scalars, tile, (vectors, min(scalars, 8)))
    case = Case(s=4 * block, t=40 * scalars, d=64, e=64)
    source = tmp_path / "fold.cpp"
    source.write_text(emit(case.kernel, tiling(case.kernel, sizes), HOST).text)
    text = _assembly(source)
    for name in ("product_0", "contract_2"):
        body = _function(text, name)
        spilled = [x for x in body if re.search(r"[xyz]mm\d+.*\(%r[sb]p\)|\(%r[sb]p\).*[xyz]mm", x)]
        assert len(body) > 50 and not spilled


def _assembly(source):
    chain = toolchain()
    flags = [f for f in chain.flags if f != "-shared"]
    target = source.with_suffix(".s")
    command = [*chain.command, *flags, "-S", str(source), "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target.read_text().splitlines()


def _function(lines, name):
    start = next(i for i, x in enumerate(lines) if re.match(rf"\w*{name}\w*:", x))
    end = next(i for i in range(start, len(lines)) if ".cfi_endproc" in lines[i])
    return lines[start:end]
