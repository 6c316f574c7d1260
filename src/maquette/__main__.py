"""``python -m maquette``: the command line."""

from maquette.cli.main import main

if __name__ == "__main__":
    main(prog_name="maquette")
