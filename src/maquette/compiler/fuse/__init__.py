"""Fusion: a Graph becomes a Flow of Kernels, the same meaning in fewer passes over memory."""

from maquette.compiler.fuse.choices import Choices
from maquette.compiler.fuse.constants import without_constants
from maquette.compiler.fuse.evaluate import evaluate_flow, evaluate_kernel
from maquette.compiler.fuse.flow import fuse
from maquette.compiler.fuse.parse import parse_flow, parse_kernel
from maquette.compiler.fuse.text import show_flow, show_kernel
from maquette.compiler.fuse.verify import check_flow, verify_flow, verify_kernel

__all__ = [
    "Choices",
    "check_flow",
    "evaluate_flow",
    "evaluate_kernel",
    "fuse",
    "parse_flow",
    "parse_kernel",
    "show_flow",
    "show_kernel",
    "verify_flow",
    "verify_kernel",
    "without_constants",
]
