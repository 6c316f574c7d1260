"""Fill the README with what `make plan` prints now, and with a picture of the page it writes.

python docs/refresh.py             # the output
python docs/refresh.py --picture   # and docs/images: a page, which takes a Chromium, and a layout
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "images" / "report.png"
LAYOUT = ROOT / "docs" / "images" / "map.svg"
MAP = ("map", "llama-3.1-8b", "--layer", "--on", "sn40l")
PLAN = ("plan", "llama-3.1-70b", "--on", "h100x8", "--for", "chat")  # as in the Makefile
BLOCK = re.compile(r"(?<=<!-- output: make plan -->\n).*?(?=<!-- end output -->)", re.DOTALL)
WIDTH, HEIGHT = 1100, 1345  # pixels of the picture
# Sections by how they start, and how many of their lines are shown.
SHOWN = {"warning: no": 1, "model": 9, "The winner": 99, "Simulated": 7, "Interactivity": 10,
         "What a decode": 5, "What more": 5, "Against": 3, "To start": 99}  # fmt: skip


def main() -> None:
    """Rewrite the block, and the picture if asked."""
    text = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda _: block(printed()), text), encoding="utf-8")
    print(f"wrote {README.name}")
    if "--picture" in sys.argv[1:]:
        picture()
        layout()
        for made in (PICTURE, LAYOUT):
            print(f"wrote {made.relative_to(ROOT)}, {made.stat().st_size / 1e3:.0f} kB")


def printed(*more: str) -> str:
    """What the command says in a terminal of 100 columns, warnings first."""
    command = [sys.executable, "-m", "maquette", *PLAN, *more]
    env = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return done.stderr + done.stdout


def block(output: str) -> str:
    """A fenced block of the output; a line ``…`` is what was left out."""
    kept: list[str] = []
    for section in re.split(r"\n\n|(?<=\n)(?=model )", output.strip()):
        lines = section.splitlines()
        n = next((n for start, n in SHOWN.items() if section.startswith(start)), 0)
        kept += lines[:n]
        if len(lines) > n and [line for line in kept if line][-1:] != ["…"]:
            kept.append("…")
        kept += [""] * (n > 0)
    text = "\n".join(kept).replace("…\n\nmodel", "…\nmodel").strip()
    return f"```text\n{text}\n```\n"


def matches(shown: str, output: str) -> bool:
    """Whether `shown` is the whole output, ``…`` standing for any lines; empty ones are ignored."""
    lines = [line for line in output.splitlines() if line.strip()]
    at, free = 0, False  # where the next part starts, and whether lines may be left out before it
    for line in [line for line in shown.splitlines() if line.strip()]:
        if line == "…":
            free = True
            continue
        if free and line in lines[at:]:
            at += lines[at:].index(line)
        if lines[at : at + 1] != [line]:
            return False
        at, free = at + 1, False
    return free or at == len(lines)


def picture() -> None:
    """The upper part of the page that ``--html`` writes, as a small PNG."""
    from PIL import Image

    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if browser is None:
        raise SystemExit("a picture takes a Chromium or Chrome on the path")
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "index.html"), Path(folder, "shot.png")
        printed("--html", str(page))
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        size = (f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}")
        subprocess.run([browser, *options, *size, page.as_uri()], check=True, capture_output=True)
        PICTURE.parent.mkdir(exist_ok=True)
        Image.open(shot).convert("RGB").save(PICTURE, optimize=True)


def layout() -> None:
    """The picture of the layer that the README maps."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "maquette", *MAP, "--out", folder]
        subprocess.run(command, capture_output=True, check=True)
        shutil.copyfile(next(Path(folder).glob("*.svg")), LAYOUT)


if __name__ == "__main__":
    main()
