"""`python -m phonefarm_cli` is `phonefarm`."""

import sys

from phonefarm_cli.main import main

sys.exit(main())
