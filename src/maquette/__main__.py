"""``python -m maquette`` and ``maquette``: the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it still loads is no traceback either."""
    try:
        from maquette.cli.main import main as command

        command(prog_name="maquette")
    except KeyboardInterrupt:
        print("error: interrupted before there was a result", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
