from __future__ import annotations

import pytest

from maquette.validate.shelf import shelf
from validate.synthetic import rows, write


@pytest.fixture(scope="session")
def known():
    return shelf()


@pytest.fixture(scope="session")
def folder(known, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows")
    write(path / "mine.csv", rows(known))
    return path
