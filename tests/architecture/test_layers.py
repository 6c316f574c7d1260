"""Who may import whom.  The list below is the architecture; docs/architecture.md explains it."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from architecture.source import layer

# A module imports only from lines above its own; peers on one line do not know each other.
LAYERS = """
errors
units
ir
machines
traffic
models capture
plans
compiler
price
run space
bench
serve train
catalogue
search
validate
measure
reproduce
report
api
cli
__main__
"""
RANK = {name: rank for rank, line in enumerate(LAYERS.split("\n")) for name in line.split()}


def test_every_package_has_a_place(modules):
    unplaced = {m.package for m in modules if m.package} - RANK.keys()
    assert not unplaced, f"not in LAYERS: {sorted(unplaced)}"


def test_imports_point_upwards(modules):
    known = {m.name for m in modules}
    wrong = []
    for module in modules:
        if not module.package:  # the front names everything and imports nothing when loaded
            continue
        for line, target in module.imports(known):
            source = layer(target)
            if source in ("", module.package):
                continue
            if RANK.get(source, 99) >= RANK.get(module.package, 99):
                wrong.append(f"{module.where}:{line} {module.package} imports {target}")
    assert not wrong, "imports against the order:\n" + "\n".join(wrong)


def test_no_import_cycles(modules):
    known = {m.name for m in modules}
    graph = {m.name: {t for _, t in m.imports(known) if t != m.name} for m in modules}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError("import cycle: " + " → ".join(reversed(error.args[1]))) from None


def test_forbidden_names(modules):
    """A module is named for what it is about, not for being shared."""
    forbidden = {"utils", "util", "core", "common", "base", "manager", "helpers", "misc"}
    wrong = [m.where for m in modules if forbidden & set(m.name.split("."))]
    assert not wrong, f"named for nothing: {wrong}"
