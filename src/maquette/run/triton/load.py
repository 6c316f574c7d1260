"""Generated Triton modules: written beside other kernels in the cache, imported, launched."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from maquette.errors import Fault, NotYet
from maquette.run.build import cache_folder
from maquette.run.source import Source


def load(source: Source) -> ModuleType:
    """The module of a source, from a file: the just-in-time compiler reads the text again.

    Raises NotYet where triton is not installed.
    """
    name = f"maquette_{source.symbol}"
    if name in sys.modules:
        return sys.modules[name]
    if importlib.util.find_spec("triton") is None:
        raise NotYet(Fault("triton", "not installed", hint='pip install "maquette[triton]"'))
    path = cache_folder() / f"{source.symbol}.py"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(source.text, encoding="utf-8")
        part.replace(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    return module


def launch(source: Source, tensors: Sequence[Any]) -> None:
    """Run a kernel on torch tensors: its inputs, then its outputs, whose storage it fills."""
    module = load(source)
    module.kernel[module.GRID](*tensors, **module.OPTIONS)
