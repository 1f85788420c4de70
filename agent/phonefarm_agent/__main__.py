"""`python -m phonefarm_agent` is `phonefarm-agent`."""

import sys

from phonefarm_agent.cli import main

sys.exit(main())
