"""One way in: `capture`."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np

from maquette.capture.built import built
from maquette.capture.captured import Captured
from maquette.capture.structure import leaves
from maquette.errors import Fault, InputError
from maquette.ir.graph import Graph


def capture(function: Any, *tensors: Any, how: str = "record", **kwargs: Any) -> Captured:
    """A function of tensors, or a module, as a Graph for tensors of these shapes.

    `tensors` and `kwargs` are examples of what the callable takes, nested as it takes them; of
    torch tensors only shape and format are looked at, so they may be on the ``meta`` device.
    Numbers, strings and None among them are fixed.  Arguments that are NumPy arrays make it a
    function of NumPy arrays.

    how="record": runs the function once on tensors without numbers; fast, any Python.
    how="export": through ``torch.export``; slower, follows guards that torch can prove.

    >>> import numpy as np
    >>> from maquette.capture import capture
    >>> from maquette.ir import evaluate
    >>> c = capture(lambda x: np.exp(x).sum(axis=-1), np.ones((2, 3), np.float32))
    >>> c.arguments, c.outputs
    (('x',), ('y',))
    >>> evaluate(c.graph, {"x": np.zeros((2, 3))})["y"]
    array([3., 3.], dtype=float32)

    A Graph takes its inputs as keywords, and gives a dictionary of its outputs.

    Raises NotYet with the operator and the source line for what cannot be captured.
    """
    if isinstance(function, Graph):
        if tensors:
            raise InputError(Fault(function.name, "is a graph", "its inputs as keywords"))
        return built(function, kwargs)
    if how not in ("record", "export"):
        raise InputError(Fault("how", f"{how!r}", "'record' or 'export'"))
    of_numpy = [isinstance(x, np.ndarray) for _, x in leaves([tensors, kwargs]) if _array(x)]
    if any(of_numpy) and not all(of_numpy):
        what = "takes arrays of NumPy and tensors of torch"
        raise InputError(Fault("", what, "either", "torch.from_numpy(x), or x.numpy()"))
    if any(of_numpy):
        if how == "export":
            raise InputError(Fault("how", "export of a function of NumPy arrays", "'record'"))
        from maquette.capture.numpy_recorder import record as record_numpy

        return record_numpy(function, tensors, kwargs)
    if importlib.util.find_spec("torch") is None:
        what = "functions of torch tensors need torch"
        raise InputError(Fault("", what, hint='pip install "maquette[torch]"'))
    if how == "export":
        from maquette.capture.torch_export import export

        return export(function, tensors, kwargs)
    from maquette.capture.torch_capture import record

    return record(function, tensors, kwargs)


def _array(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return isinstance(x, np.ndarray) or (torch is not None and isinstance(x, torch.Tensor))
