"""Marks for tests whose outcome does not depend on what a whole suite is repeated for."""

import pytest

ONE_ENGINE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is decided before SQL, or by rules behind the same statements as in a test beside it."""

ONE_PLACE = pytest.mark.parametrize("kept", ["directory"], indirect=True)
"""For what is decided before a file is touched, wherever evidence is kept."""

ONE_RUNTIME = pytest.mark.parametrize("live_farm", ["process"], indirect=True)
"""For what the farm does alike whichever way its runs are kept."""
