"""`phonefarm-gateway`: the command line; it loads the gateway only to run one."""

import os
import sys

from phonefarm_common.service import VERBS

from phonefarm_gateway.options import build_parser


def main() -> int:
    """Return 0 after a clean stop, 1 for a refused join, 2 for unusable settings."""
    # --help must not wait for what a gateway loads.
    if sys.argv[1:2] and sys.argv[1] in VERBS:
        from phonefarm_gateway import install  # noqa: PLC0415 - see above

        return install.main(sys.argv[1:])
    is_join = sys.argv[1:2] == ["join"]
    given = None if is_join else build_parser(os.environ).parse_args()
    from phonefarm_gateway import program  # noqa: PLC0415 - see above

    return program.join(sys.argv[2:]) if given is None else program.run(given)
