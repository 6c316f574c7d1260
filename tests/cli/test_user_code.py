"""Functions and modules from files: what is loaded, and what is refused and how."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from maquette.cli.user_code import arguments, load
from maquette.errors import MaquetteError

CODE = """
import numpy as np
from neighbour import FACTOR
def twice(x, y=1.0):
    return FACTOR * x
def many(*xs):
    return sum(xs)
number = 3
class Plain:
    pass
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "neighbour.py").write_text("FACTOR = 2.0\n")
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    yield path
    sys.modules.pop("neighbour", None)


def refused(call, *words):
    with pytest.raises(MaquetteError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_a_function_with_what_stands_beside_its_file(file):
    function = load(f"{file}:twice")
    (x,) = arguments(function, "3x4", "float32")
    assert isinstance(x, np.ndarray)
    assert (x.shape, x.dtype) == ((3, 4), np.float32)
    assert np.array_equal(function(x), 2 * x)


def test_shapes_by_name_in_any_order(file):
    y, x = arguments(load(f"{file}:twice"), "y=:float64,x=2x2:int64", "float32")[::-1]
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((2, 2), np.int64, (), np.float64)


def test_functions_of_either_kind_in_one_file(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "both.py"
    path.write_text(
        "import numpy as np\nimport torch\n"
        "def one(x):\n    return np.exp(x).sum(-1)\n"
        "def other(x):\n    return torch.exp(x) * np.sqrt(2)\n"
        "def third(x):\n    return x.softmax(-1) * np.sqrt(2)\n"
    )
    kinds = {"one": np.ndarray, "other": torch.Tensor, "third": torch.Tensor}
    for name, kind in kinds.items():
        assert type(arguments(load(f"{path}:{name}"), "3x4", "float32")[0]) is kind


def test_functions_of_any_number_of_arguments(file):
    assert len(arguments(load(f"{file}:many"), "2,2,2", "float32")) == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("twise", ("unknown name 'twise'", "did you mean twice")),
        ("number", ("is int, not callable",)),
        ("Plain", ("no torch module",)),
    ],
)
def test_names(file, name, words):
    refused(lambda: load(f"{file}:{name}"), *words)


def test_files(tmp_path):
    refused(lambda: load("mine.py"), "does not name both")
    refused(lambda: load(f"{tmp_path}/none.py:f"), "none.py", "is not a file")
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1\nraise RuntimeError('no')\n")
    refused(lambda: load(f"{broken}:f"), "broken.py:2", "RuntimeError: no")
    broken.write_text("x = 1\ny = = 2\n")
    refused(lambda: load(f"{broken}:f"), "broken.py:2", "SyntaxError")


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ("2x", ("no shape",)),
        ("x=2,3", ("some are named",)),
        ("x=2,x=3", ("twice",)),
        ("z=2", ("unknown argument 'z'",)),
        ("y=2", ("no shape for x",)),
        ("2,3,4", ("3 are given for 2", "x, y")),
        ("2:floaty", ("no format 'floaty'",)),
    ],
)
def test_shapes_that_are_wrong(file, shapes, words):
    refused(lambda: arguments(load(f"{file}:twice"), shapes, "float32"), *words)


def test_modules(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\nclass Net(torch.nn.Linear):\n    def __init__(self):\n"
        "        super().__init__(4, 2)\nclass Sized(torch.nn.Linear):\n    pass\n"
        "made = torch.nn.Linear(4, 3)\n"
    )
    net = load(f"{path}:Net")
    assert not net.training
    (x,) = arguments(net, "5x4", "bfloat16")
    assert x.dtype == torch.bfloat16
    assert arguments(load(f"{path}:made"), "input=5x4", "float32")[0].shape == (5, 4)
    refused(lambda: load(f"{path}:Sized"), "needs arguments", "make an instance")
