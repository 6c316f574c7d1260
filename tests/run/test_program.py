"""Compiled functions end to end: what they return, what they refuse, what they share."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import maquette as mq
from maquette.errors import InputError, NotYet, UnknownName
from maquette.run import specialise
from maquette.run.toolchain import toolchain

torch = pytest.importorskip("torch")
F = torch.nn.functional

TARGETS = ["numpy", *(["cpu"] if toolchain() is not None else [])]


@pytest.fixture(params=TARGETS)
def target(request):
    return request.param


def close(found, wanted, tolerance=1e-5):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def layer(x, w, b):
    return F.gelu(F.linear(x, w, b)) + 1


def given(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=generator) for s in shapes]


def test_function(target):
    x, w, b = given((19, 40), (33, 40), (33,))
    compiled = mq.compile(layer, target=target)
    close(compiled(x, w, b), layer(x, w, b))
    x, w, b = given((2, 3, 40), (33, 40), (33,))  # another signature
    close(compiled(x, w, b), layer(x, w, b))


def test_module_with_weights_of_its_own(target):
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(24, 50), torch.nn.SiLU(), torch.nn.LayerNorm(50), torch.nn.Linear(50, 7)
    )
    (x,) = given((11, 24))
    compiled = mq.compile(module, target=target)
    close(compiled(x), module(x).detach())
    with torch.no_grad():
        module[0].weight.mul_(2)  # in place: the pointer is the same
    compiled.forget()
    close(compiled(x), module(x).detach())


def test_naive_attention(target):
    def attention(q, k, v):
        s = q @ k.transpose(-1, -2) / 8
        s = s.masked_fill(torch.ones(33, 33, dtype=torch.bool).triu(1), float("-inf"))
        return torch.softmax(s, -1) @ v

    q, k, v = given(*[(1, 2, 33, 16)] * 3)
    close(mq.compile(attention, target=target)(q, k, v), attention(q, k, v))


def test_numpy_arrays_in_and_out(target):
    def norm(x):
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6)

    x = np.random.default_rng(0).standard_normal((5, 33)).astype(np.float32)
    found = mq.compile(norm, target=target)(x)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, norm(x), rtol=1e-5)


def test_strided_arguments_are_read_in_place(target):
    (big,) = given((40, 60))
    x, w = big[::2, 1:33], big.T[:45, 8:40]
    compiled = mq.compile(F.linear, target=target)
    close(compiled(x, w), F.linear(x, w))


def test_nests_and_keywords(target):
    def pair(x, *, scale, more):
        return {"up": x * scale, "down": [x - more["by"]]}

    x, by = given((6, 5), (5,))
    found = mq.compile(pair, target=target)(x, scale=3.0, more={"by": by})
    close(found["up"], x * 3)
    close(found["down"][0], x - by)


def test_narrow_formats(target):
    x, w = (t.bfloat16() for t in given((9, 32), (20, 32)))
    found = mq.compile(F.linear, target=target)(x, w)
    assert found.dtype == torch.bfloat16
    close(found.float(), F.linear(x.float(), w.float()), 2e-2)
    q = torch.randint(-127, 128, (20, 32), dtype=torch.int8)

    def dequantised(x, q, s):
        return F.linear(x, q.float() * s[:, None])

    x, s = given((1, 32), (20,))
    close(mq.compile(dequantised, target=target)(x, q, s), dequantised(x, q, s), 1e-4)


def test_integers_that_kernels_lack_are_widened(target):
    """As the program says: arithmetic is that of int32, and so are results."""
    (x,) = given((5, 9))
    for format_ in (torch.int16, torch.uint8):
        i = (x * 100).abs().to(format_)
        found = mq.compile(lambda i: i * 300 + 1, target=target)(i)
        assert found.dtype == torch.int32
        assert torch.equal(found, i.int() * 300 + 1)


def test_what_is_no_number_behind_a_mask(target):
    """Blocks that a mask hides are not read: zero times no number is none only in the others."""

    def attention(q, k, v):
        hidden = torch.ones(70, 70, dtype=torch.bool).triu(1)
        return torch.softmax((q @ k.mT).masked_fill(hidden, float("-inf")), -1) @ v

    q, k, v = given(*[(70, 16)] * 3)
    wanted = attention(q, k, v)
    v[-1] = float("nan")
    found = mq.compile(attention, target=target)(q, k, v)
    assert found[-1].isnan().all()
    seen = ~found.isnan()
    assert not seen.any() or target == "cpu"
    close(found[seen], wanted[seen])


@pytest.mark.parametrize("rows", [1, 8, 40])
def test_packed_weights(target, rows):
    """Two weights a byte, with a scale for each group: read as they are stored."""
    generator = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 256, (20, 32), dtype=torch.uint8, generator=generator)
    x, scale = given((rows, 64), (20, 2))

    def four_bits(x, packed, scale):
        pairs = packed.view(20, 2, 16)
        values = torch.cat([pairs & 15, pairs >> 4], -1).to(x.dtype) - 8.0
        return x @ (values * scale[:, :, None]).view(20, 64).T

    compiled = mq.compile(four_bits, target=target)
    close(compiled(x, packed, scale), four_bits(x, packed, scale), 1e-4)
    if rows < 40:  # many rows read widened weights again and again: those are kept
        assert len(compiled.lowered.flow.kernels) == 1


def test_nothing_to_compute(target):
    x, w, b = given((0, 40), (33, 40), (33,))
    assert mq.compile(layer, target=target)(x, w, b).shape == (0, 33)


def test_means_of_nothing(target):
    function = mq.compile(lambda x: (x.mean(-1), F.layer_norm(x, (0,)), x.sum()), target=target)
    empty = torch.empty(4, 0)
    mean, normed, total = function(empty)
    assert mean.isnan().all() and mean.shape == (4,) and normed.shape == (4, 0) and total == 0
    attend = mq.compile(F.scaled_dot_product_attention, target=target)
    q, v = torch.empty(1, 2, 5, 0), torch.arange(15.0).view(1, 1, 5, 3).expand(1, 2, 5, 3)
    close(attend(q, q, v), F.scaled_dot_product_attention(q, q, v))


def test_not_a_number_stays_one(target):
    (x,) = given((4, 9))
    x[1, 3], x[2, 0] = float("nan"), float("inf")
    found = mq.compile(lambda x: torch.softmax(x, -1), target=target)(x)
    wanted = torch.softmax(x, -1)
    assert torch.equal(found.isnan(), wanted.isnan())
    close(found[[0, 3]], wanted[[0, 3]])


def test_out_names_where_results_go(target):
    x, w, b = given((19, 40), (33, 40), (33,))
    out = torch.empty(19, 33)
    compiled = mq.compile(layer, target=target)
    assert compiled(x, w, b, out=out) is out
    close(out, layer(x, w, b))


@pytest.mark.skipif("cpu" not in TARGETS, reason="no C++ compiler")
class TestCompiled:
    def test_bad_places_for_results(self):
        x, w, b = given((33, 33), (33, 33), (33,))
        compiled = mq.compile(layer)
        with pytest.raises(InputError, match="contiguous f32"):
            compiled(x, w, b, out=torch.empty(33, 33).T[:, :20])
        with pytest.raises(InputError, match="shares memory"):
            compiled(x, w, b, out=x)
        with pytest.raises(InputError, match="2 tensors"):
            compiled(x, w, b, out=[x, w])

    def test_places_for_results_that_something_else_needs(self):
        module = torch.nn.Linear(33, 33, bias=False).requires_grad_(False)
        (x,) = given((33, 33))
        with pytest.raises(InputError, match="memory with a constant"):
            mq.compile(module)(x, out=module.weight)
        both = torch.empty(3 * 33, 33)
        with pytest.raises(InputError, match="memory with another result"):
            mq.compile(lambda x: (x + 1, x * 2))(x, out=(both[:33], both[32:65]))
        fixed = np.zeros((33, 33), np.float32)
        fixed.flags.writeable = False
        with pytest.raises(InputError, match="read-only"):
            mq.compile(lambda x: x + 1)(x.numpy(), out=fixed)

    def test_weights_given_other_memory_are_not_read_after_they_are_gone(self):
        module = torch.nn.Linear(2048, 512, bias=False).requires_grad_(False)  # memory of its own
        (x,) = given((4, 2048))
        compiled, wanted = mq.compile(module), module(x)
        compiled(x)
        module.weight.data = torch.zeros(1, 1)
        close(compiled(x), wanted, 1e-4)

    def test_what_differs_in_a_number_or_a_nest_is_compiled_apart(self):
        x = torch.ones(2)
        scaled = mq.compile(lambda x, s: x * s)
        assert not scaled(x, 0.0).signbit().any() and scaled(x, -0.0).signbit().all()
        for _ in range(2):
            assert scaled(x, float("nan")).isnan().all()
        assert scaled(x, np.float32(3)).tolist() == [3, 3]
        assert scaled(x, np.float32(4)).tolist() == [4, 4]
        assert len(scaled._made) == 5
        nested = mq.compile(lambda xs: type(xs)(x + len(type(xs).__name__) for x in xs))
        assert isinstance(nested([x]), list) and isinstance(nested((x,)), tuple)
        named = mq.compile(lambda d: d["a"][0] * 2 if "a" in d else d["a_0"] * 3)
        assert (named({"a": [x]}).tolist(), named({"a_0": x}).tolist()) == ([2, 2], [3, 3])

    def test_tensors_whose_elements_are_not_what_lies_in_memory(self):
        double = mq.compile(lambda x: x * 2)
        x = torch.randn(3, dtype=torch.complex64)
        double(x.imag)
        with pytest.raises(InputError, match="view of the negative"):
            double(x.conj().imag)
        array = np.ones((3, 3), np.float32)
        for special in (array.view(np.matrix), np.ma.masked_array(array, array > 0)):
            with pytest.raises(InputError, match="an array"):
                mq.compile(lambda x: x * 2)(special)
        with pytest.raises(InputError, match="arrays of NumPy and tensors of torch"):
            mq.compile(lambda x, y: x + y)(array, torch.ones(3, 3))

    def test_faults_of_a_module_of_the_frameworks_are_told_where_it_is_called(self):
        with pytest.raises(NotYet, match=r"test_program\.py:\d+: gru_cell"):
            mq.compile(torch.nn.GRUCell(8, 8).eval())(*given((3, 8), (3, 8)))

    def test_long_chains(self):
        def chain(x):
            for _ in range(120):
                x = x * 1.01 + 0.1
            return x

        (x,) = given((50,))
        close(mq.compile(chain)(x), chain(x), 1e-4)

    def test_it_shows_what_was_made(self):
        x, w, b = given((19, 40), (33, 40), (33,))
        compiled = mq.compile(layer)
        with pytest.raises(InputError, match="prepare"):
            compiled.program  # noqa: B018
        compiled(x, w, b)
        assert "add over" in compiled.program
        assert "kernel k0" in compiled.schedule
        assert 'extern "C"' in compiled.source
        assert compiled.bytes >= 0
        assert not [line for line in compiled.report if line.startswith("interpreted")]

    def test_equal_layers_are_one_kernel(self):
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            *(m for _ in range(4) for m in (torch.nn.Linear(32, 32), torch.nn.ReLU()))
        )
        compiled = mq.compile(module)
        (x,) = given((8, 32))
        close(compiled(x), module(x).detach())
        assert len(compiled.latest.lowered.flow.kernels) == 4
        assert len(compiled.latest.sources) == 1

    def test_threads_may_share_it(self):
        x, w, b = given((64, 40), (33, 40), (33,))
        compiled = mq.compile(layer)
        inputs = [x + i for i in range(8)]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda x: compiled(x, w, b), inputs * 4))
        for x, y in zip(inputs * 4, found, strict=True):
            close(y, layer(x, w, b), 1e-4)

    def test_without_a_compiler_numpy_runs_it(self, monkeypatch):
        monkeypatch.setattr(specialise, "toolchain", lambda: None)
        monkeypatch.setattr(specialise, "_said", set())
        x, w, b = given((19, 40), (33, 40), (33,))
        compiled = mq.compile(layer)
        with pytest.warns(RuntimeWarning, match="NumPy runs the program"):
            found = compiled(x, w, b)
        close(found, layer(x, w, b))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mq.compile(layer)(x, w, b)

    def test_kernels_are_timed_one_by_one(self):
        x, w, b = given((19, 40), (33, 40), (33,))
        compiled = mq.compile(layer)
        compiled(x, w, b)
        named = compiled.latest.timed(x, w, b)
        assert [n for n, _ in named] == [k.name for k in compiled.lowered.flow.kernels]
        assert all(s > 0 for _, s in named)


def test_what_cannot_be_compiled_says_so():
    with pytest.raises(UnknownName, match="target"):
        mq.compile(layer, target="tpu")
    with pytest.raises(InputError, match="cannot be called"):
        mq.compile(3)
    x, w, b = given((19, 40), (33, 40), (33,))
    compiled = mq.compile(layer)
    compiled(x, w, b)
    with pytest.raises(InputError, match=r"requires a gradient.*detach"):
        compiled(x.requires_grad_(), w, b)
    with torch.no_grad():
        assert not compiled(x, w, b).requires_grad
    with pytest.raises(InputError, match="requires a gradient"):
        compiled(x, w, b)
    with pytest.raises(InputError, match="meta"):
        mq.compile(layer)(x.detach().to("meta"), w, b)


@pytest.mark.parametrize("rows", [1, 4, 8])
@pytest.mark.parametrize("format_", ["int8", "int4"])
def test_weights_in_few_bits_stream_once(rows, format_):
    """Whatever the rows of one step are, weights are read as they are stored, by one kernel."""
    from maquette.bench import decode
    from maquette.capture import capture
    from maquette.run.specialise import passes

    x, weight = given((rows, 1024), (2048, 1024))
    formats = {name: (function, call) for name, function, call in decode._formats(x, weight)}
    function, call = formats[format_]
    lowered = passes().lower(capture(function, *call).graph)
    assert [c.tiling.strategy for c in lowered.tiled] == ["thin"]


def test_a_block_keeps_its_layouts():
    """Eleven kernels for a Llama block: no transposition, no residual addition of its own."""
    from maquette.bench import block
    from maquette.capture import capture
    from maquette.run.specialise import passes

    width = block.Width()
    module, call = block.llama_block(width), block.block_inputs(512, width)
    made = capture(module, *call)
    lowered = passes().lower(made.graph, {}, made.constants)
    strategies = [c.tiling.strategy for c in lowered.tiled]
    assert len(strategies) <= 11 and strategies.count("stream") == 1
    for kernel, strategy in zip(lowered.flow.kernels, strategies, strict=True):
        if strategy == "rows":  # norms, rotations: none only moves or adds
            assert "op='mul'" in str(kernel.stages), kernel.name
