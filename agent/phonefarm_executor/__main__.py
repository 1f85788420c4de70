"""`python -m phonefarm_executor`: executes the run that is in the run directory."""

import sys

from phonefarm_executor.main import main

if __name__ == "__main__":
    sys.exit(main())
