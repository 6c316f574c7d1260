"""Triton's interpreter, chosen before anything imports triton: there is no GPU where tests run."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
