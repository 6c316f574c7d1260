"""The package's front door: light to open, and every name behind it is there."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import maquette
from architecture.source import SOURCE
from maquette import api

HEAVY = ("numpy", "scipy", "matplotlib", "rich", "jinja2", "pyarrow", "cattrs", "hypothesis")


def loaded(code: str) -> set[str]:
    """Which heavy packages are loaded after running `code` in a fresh interpreter."""
    code += f"\nimport sys; print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("LOADED", 1)[1].split())


def test_importing_the_package_loads_nothing_heavy():
    assert loaded("import maquette") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["simulate", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    call = f"from maquette.cli.main import main\nimport sys\nsys.argv = ['maquette', *{arguments}]"
    assert loaded(f"{call}\ntry: main()\nexcept SystemExit as e: assert not e.code") == set()


def test_help_is_instant():
    """Processor seconds of the quickest of three, so that a busy machine does not matter."""
    call = [sys.executable, "-m", "maquette", "--help"]
    used = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(call, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(used) < 0.2


def test_the_front_has_every_function_of_the_api_and_every_noun():
    names = {*api.__all__, *maquette._NOUNS}
    assert names <= set(dir(maquette))
    assert not [name for name in names if not hasattr(maquette, name)]
    assert maquette.machine is api.machine


def test_type_checkers_see_the_same_nouns():
    """The imports under TYPE_CHECKING are the table, once more."""
    tree = ast.parse(Path(maquette.__file__).read_text())
    seen = {
        name.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("maquette.")
        for name in node.names
    }
    assert seen == {"*": "maquette.api", **maquette._NOUNS}


def test_no_public_name_hides_a_module():
    """``mq.plan`` must stay a function once ``maquette.plans`` has been imported."""
    modules = {p.stem for p in (SOURCE / "maquette").iterdir()}
    assert not modules & {*api.__all__, *maquette._NOUNS}


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'plann'"):
        maquette.plann  # noqa: B018


def test_package_alls_name_what_exists(modules):
    for module in modules:
        if module.path.name == "__init__.py":
            package = import_module(module.name)
            missing = [n for n in getattr(package, "__all__", ()) if not hasattr(package, n)]
            assert not missing, f"{module.name}.__all__ names {missing}"
