"""Functions and modules as Graphs: torch, recorded or exported, and NumPy.

Every operator is written in the one language by one table of lowerings (`table.LOWERINGS`), used by
all recorders.  Fused operators are written out naively: deriving their good form is the
compiler's work.
"""

from maquette.capture.api import capture
from maquette.capture.captured import Captured
from maquette.capture.structure import form, leaves

__all__ = ["Captured", "capture", "form", "leaves"]
