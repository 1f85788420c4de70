"""`python -m phonefarm_executor`: perform the run that stands in the run directory."""

import sys

from phonefarm_executor.main import main

if __name__ == "__main__":
    sys.exit(main())
