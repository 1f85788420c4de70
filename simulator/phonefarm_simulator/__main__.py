"""`python -m phonefarm_simulator` is the phonefarm-simulator command."""

import sys

from phonefarm_simulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
