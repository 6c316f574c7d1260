"""Documents do what they say: their code runs and prints what they show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.blocks import ROOT, blocks, commands, documents, run_command, run_python

DOCUMENTS = documents()
COMMANDS = [found for path in DOCUMENTS for found in commands(path)]
WITH_PYTHON = [p for p in DOCUMENTS if any(b.kind == "python" for b in blocks(p))]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", WITH_PYTHON, ids=name)
def test_python_blocks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python(path)


@pytest.mark.parametrize("where, command, expected", COMMANDS, ids=[c for _, c, _ in COMMANDS])
def test_console_blocks_run(where, command, expected, tmp_path):
    run_command(command, expected, where, tmp_path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_inside_the_tree_lead_somewhere(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert not broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_paths_named_in_documents_exist(path):
    """Files written as `src/…/x.py`, `docs/…` and so on are there."""
    if path.name == "CHANGELOG.md":  # it tells of what was
        return
    named = re.findall(
        r"`((?:src|docs|tests|bench|examples|validation)/[\w./-]+)`", path.read_text()
    )
    missing = [n for n in named if not (ROOT / n).exists()]
    assert not missing


DOCUMENT = """
```python
print(6 * 7)
```

```text
{shown}
```

<!-- not run: it fails -->
```python
raise SystemExit
```
"""


def test_a_wrong_output_is_noticed(tmp_path):
    document = tmp_path / "document.md"
    document.write_text(DOCUMENT.format(shown="42"))
    run_python(document)
    document.write_text(DOCUMENT.format(shown="41"))
    with pytest.raises(AssertionError, match=r"document\.md:7: expected\n41"):
        run_python(document)


def test_a_failing_command_is_noticed(tmp_path):
    run_command("echo one two three", "one ... three", "here", tmp_path)
    with pytest.raises(AssertionError, match="here: expected"):
        run_command("echo one", "two", "here", tmp_path)
    with pytest.raises(AssertionError, match=r"here: \$ exit 2"):
        run_command("exit 2", "", "here", tmp_path)
