"""Each program prints its help without the libraries that it needs to run."""

import subprocess
import sys

import pytest
from phonefarm_agent.cli import COMMANDS, build_parser

HEAVY = {
    "aiohttp",
    "alembic",
    "asyncpg",
    "boto3",
    "cryptography",
    "docker",
    "google.protobuf",
    "grpc",
    "httpx",
    "PIL",
    "prometheus_client",
    "pydantic",
    "rich",
    "sqlalchemy",
    "structlog",
    "yarl",
}
"""Libraries that take longer to load than Python itself."""
PROGRAMS = ("phonefarm_agent", "phonefarm_controller", "phonefarm_gateway", "phonefarm_simulator")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_loads_no_library(program: str) -> None:
    """Whoever asks for --help, or completes a word, does not wait."""
    code = (
        f"import sys\nfrom {program}.cli import main\nsys.argv = ['x', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())

    assert "usage:" in done.stdout
    assert f"{program}.cli" in loaded
    assert loaded.isdisjoint(HEAVY), sorted(loaded & HEAVY)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_agent_says_of_itself_what_the_list_says(command: str) -> None:
    """The table of commands and the modules of the commands do not drift apart."""
    assert build_parser(command).format_help() == build_parser(None).format_help()
