"""Compiling without the cyclic collector: as it was before, however it ends."""

from __future__ import annotations

import gc

import pytest

from maquette.run.collector import uncollected


@pytest.mark.parametrize("on", [True, False])
def test_it_is_left_as_it_was(on):
    before = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        with pytest.raises(ValueError), uncollected():
            with uncollected():
                pass
            assert not gc.isenabled()
            raise ValueError
        assert gc.isenabled() == on
    finally:
        (gc.enable if before else gc.disable)()
