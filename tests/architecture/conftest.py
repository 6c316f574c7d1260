from __future__ import annotations

import pytest

from architecture.source import Module, every_module


@pytest.fixture(scope="session")
def modules() -> list[Module]:
    return every_module()
