"""Tables in Markdown, for documents that a command writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    """A Markdown table whose first `left` columns are words.

    >>> print(table(("name", "value"), [("x", "1")], 1))
    | name | value |
    | --- | --: |
    | x | 1 |
    """
    rule = ["---"] * left + ["--:"] * (len(heads) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows))
