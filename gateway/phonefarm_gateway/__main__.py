"""`python -m phonefarm_gateway` is `phonefarm-gateway`."""

import sys

from phonefarm_gateway.cli import main

sys.exit(main())
