"""Kernels of blocks, by Triton's interpreter, against the framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import maquette as mq  # noqa: E402
from maquette.bench.spellings import SPELLINGS  # noqa: E402
from maquette.capture import capture  # noqa: E402
from maquette.compiler.derive.derive import derive  # noqa: E402
from maquette.compiler.fuse import fuse, parse_kernel  # noqa: E402
from maquette.errors import InputError, NotYet  # noqa: E402
from maquette.run.triton.emit import emit  # noqa: E402
from maquette.run.triton.load import launch  # noqa: E402
from maquette.run.triton.roles import candidates  # noqa: E402

F = torch.nn.functional
GOLDEN = Path(__file__).parent / "golden"


def rms(x):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5)


def heads(q, k, v):
    k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
    return torch.softmax(q @ k.transpose(-1, -2) / 5.0, -1) @ v


FUNCTIONS = {
    "softmax": (lambda x: torch.softmax(x, -1), (5, 70)),
    "log-sum-exp": (lambda x: torch.logsumexp(x, -1), (5, 70)),
    "norm": (lambda x, g: rms(x) * g, (5, 70), (70,)),
    "layer norm": (lambda x, g: F.layer_norm(x, (40,), g), (3, 40), (40,)),
    "variance": (lambda x: x.var(-1, unbiased=False), (5, 70)),
    "moments": (lambda x: (x - x.mean(-1, keepdim=True)).pow(2).mean(-1), (5, 70)),
    "product": (lambda x, w: F.linear(x, w), (33, 70), (40, 70)),
    "norm before a product": (lambda x, w: F.linear(rms(x), w), (33, 70), (40, 70)),
    "gated": (lambda x, w, u: F.silu(x @ w) * (x @ u), (33, 70), (70, 40), (70, 40)),
    "gelu": (lambda x: F.gelu(x), (5, 70)),
    "tanh": (torch.tanh, (5, 70)),
    "prefix sums": (lambda x: torch.cumsum(x, 1), (5, 70)),
    "transposed": (lambda x: x.t() + 1, (5, 70)),
    "convolution": (lambda x, w: F.conv2d(x, w, padding=1), (1, 2, 5, 5), (3, 2, 3, 3)),
    "grouped heads": (heads, (1, 4, 33, 24), (1, 2, 33, 24), (1, 2, 33, 24)),
    "whole powers": (lambda x: x**3 + 2.0**x, (5, 70)),
    "remainders": (lambda x: x + (torch.arange(70) - 7) // 4 + (torch.arange(70) - 9) % 5, (5, 70)),
}


def tensors(*shapes):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(s, generator=generator) for s in shapes]


def close(got, want):
    scale = max(1.0, want.abs().max().item())
    assert (got - want).abs().max().item() <= 3e-6 * scale


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_mean_what_the_framework_computes(name):
    function, *shapes = FUNCTIONS[name]
    given = tensors(*shapes)
    close(mq.compile(function, target="triton")(*given), function(*given))


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_attention_is_one_kernel_of_two_products(name):
    function = next(x for x in SPELLINGS[name] if callable(x))
    given = tensors(*[(1, 2, 77, 24)] * 3)
    compiled = mq.compile(function, target="triton")
    close(compiled(*given), function(*given))
    assert compiled.source.count("tl.dot(") == 2
    assert compiled.source.count("tl.load(") == 3 or "additive" in name or "alibi" in name


def flow_of(function, *shapes):
    return fuse(derive(capture(function, *tensors(*shapes)).graph).graph)


def test_every_tiling_means_the_same():
    causal = next(x for x in SPELLINGS["where causal"] if callable(x))
    q, k, v = tensors(*[(1, 2, 77, 24)] * 3)
    (kernel,) = flow_of(causal, *[(1, 2, 77, 24)] * 3).kernels
    tilings = list(candidates(kernel))
    assert len(tilings) >= 3
    for tiling in tilings:
        y = torch.empty(1, 2, 77, 24)
        launch(emit(kernel, tiling), [q, k, v, y])
        close(y, causal(q, k, v))


def test_embedding_reads_rows_by_number():
    table = torch.randn(40, 70)
    found = mq.compile(lambda i, w: F.embedding(i, w), target="triton")
    i = torch.tensor([[1, 2, 39]])
    close(found(i, table), F.embedding(i, table))


def test_narrow_formats_are_multiplied_as_they_are_and_summed_in_32_bits():
    x, w = (t.to(torch.float16) for t in tensors((33, 70), (40, 70)))  # bf16 is not interpreted
    compiled = mq.compile(lambda x, w: F.linear(x, w), target="triton")
    want = F.linear(x.float(), w.float())
    assert (compiled(x, w).float() - want).abs().max() <= 0.01 * want.abs().max()
    loads = [line for line in compiled.source.splitlines() if "tl.load" in line]
    assert len(loads) == 2
    assert not any(".to(tl.float32)" in line for line in loads)


def test_the_text_of_a_kernel():
    kernel = parse_kernel((GOLDEN / "kernel.txt").read_text())
    text = emit(kernel, next(candidates(kernel))).text
    assert text[text.index("def kernel") :] == (GOLDEN / "blocks.txt").read_text()


def test_what_has_no_block_form_says_so():
    with pytest.raises(NotYet, match="power"):
        mq.compile(lambda x: x**2.7, target="triton")(torch.rand(4, 4))
    with pytest.raises(InputError, match="torch tensor"):
        mq.compile(lambda x: x + 1, target="triton")(torch.rand(4, 4).numpy())


COMPILED = """
import sys
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from maquette.compiler.fuse import parse_kernel
from maquette.run.triton.emit import emit
from maquette.run.triton.load import load
from maquette.run.triton.roles import candidates

kernel = parse_kernel(Path(sys.argv[1]).read_text())
module = load(emit(kernel, next(candidates(kernel))))
count = len(kernel.inputs) + len(kernel.outputs)
source = ASTSource(module.kernel, {f"p{i}": "*fp32" for i in range(count)}, {})
made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=module.OPTIONS)
print("wgmma" in made.asm["ptx"] or "mma" in made.asm["ptx"], len(made.asm["cubin"]))
"""


def test_kernels_compile_for_a_gpu_without_one(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    run = [sys.executable, "-W", "ignore", "-c", COMPILED, str(GOLDEN / "kernel.txt")]
    made = subprocess.run(run, capture_output=True, text=True, check=False)
    if "libcuda" in made.stderr or "ptxas" in made.stderr:
        pytest.skip("triton's assembler does not run here")
    assert made.returncode == 0, made.stderr[-2000:]
    assert int(made.stdout.split()[-1]) > 1000
