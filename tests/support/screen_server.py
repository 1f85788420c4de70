"""The real jar of scrcpy-server, for tests that push it to a simulated phone."""

from pathlib import Path

import pytest
from phonefarm_agent.phones.screen.server_jar import ScreenServerJarError, install_jar


def real_jar() -> Path:
    """Return the jar, fetched into this environment once; skip the test where it cannot be."""
    try:
        return install_jar()
    except ScreenServerJarError as error:
        pytest.skip(str(error))
