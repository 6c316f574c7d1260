"""Samba-CoE as published: Prabhakar et al., "SambaNova SN40L", MICRO 2024, arXiv 2405.07518, §VI-C.

Router and experts are Llama-2-7B in bf16, tensor parallel over 8 sockets; all experts lie in DDR,
router and KV cache are pinned in HBM.  The paper's DGX rows are estimates of its authors, not
measurements, and copy every expert over one host link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maquette.units import Bytes, BytesPerSecond

SOURCE = "SambaNova SN40L (MICRO 2024, arXiv 2405.07518), Table V and §VI-C"


@dataclass(frozen=True)
class Speedup:
    """One row of Table V: how much faster an SN40L node is than a DGX; `batch` 0 has no copies."""

    baseline: str
    batch: int
    output_tokens: int
    published: float


OVERALL = (
    Speedup("DGX A100", 8, 20, 6.6),
    Speedup("DGX H100", 8, 20, 3.7),
    Speedup("DGX A100", 1, 20, 4.8),
    Speedup("DGX H100", 1, 20, 2.8),
    Speedup("DGX A100", 8, 200, 4.2),
    Speedup("DGX H100", 8, 200, 2.7),
    Speedup("DGX A100", 1, 200, 3.9),
    Speedup("DGX H100", 1, 200, 2.6),
)
# Inputs of the closed form, not predictions of it: an expert alone, already in the fast memory.
EXPERT: Mapping[tuple[str, int], float] = {
    ("DGX A100", 20): 2.0,
    ("DGX H100", 20): 1.5,
    ("DGX A100", 200): 3.2,
    ("DGX H100", 200): 2.3,
}
SWITCH: Mapping[str, float] = {"DGX A100": 31.0, "DGX H100": 15.0}  # 16 in the text

NODE_COPY = BytesPerSecond(1e12)  # DDR into HBM, a node of 8 sockets: "more than 1 TB/s"
HOST_LINK: Mapping[str, BytesPerSecond] = {  # of one GPU
    "DGX A100": BytesPerSecond(32e9),
    "DGX H100": BytesPerSecond(64e9),
}
NODE_DDR = Bytes(12e12)
NODE_HBM = Bytes(512e9)
DGX_HBM = Bytes(640e9)
DGX_HOST = Bytes(2e12)  # recalled: the paper does not state it
EXPERTS_ON_A_NODE = 850  # against 19 DGX to hold as many in HBM
MACHINES_IN_ITS_STEAD = 19
ROUTER_TOKENS = 20  # what the router generates to name an expert
