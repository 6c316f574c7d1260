"""Write the predictions down anew, and show which of them moved.

python tests/replay/update.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from replay.predictions import FILE, load, moved, predictions, save

if __name__ == "__main__":
    before = load() if FILE.exists() else {}
    after = predictions()
    print(moved(before, after) or "nothing moved")
    save(after)
    print(f"{len(after)} predictions in {FILE.name}")
