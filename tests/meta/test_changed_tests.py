"""`make test-changed` finds who depends on a change."""

import pytest
from changed_tests import depending_on


@pytest.mark.parametrize(
    ("changed", "found", "spared"),
    [
        (
            "simulator/phonefarm_simulator/ledger.py",
            {"tests/simulator/test_simulator_app.py", "tests/e2e/test_e2e_work.py"},
            {"tests/controller/test_transition_tables.py", "tests/gateway/test_gateway_limits.py"},
        ),
        (
            "gateway/phonefarm_gateway/settings.py",
            {"tests/gateway/test_gateway_program.py", "tests/contract/test_contract_life.py"},
            {"tests/simulator/test_simulator_app.py", "tests/proxy/test_proxy_lease.py"},
        ),
        (
            "tests/support/rest_farm.py",
            {"tests/contract/test_contract_life.py"},
            {"tests/proxy/test_proxy_lease.py"},
        ),
        (
            "tests/contract/conftest.py",
            {"tests/contract/test_contract_life.py"},
            {"tests/proxy/test_proxy_lease.py"},
        ),
        (
            "docs/operating.md",
            {"tests/cli/test_cli_operating_page.py", "tests/meta/test_pages.py"},
            {"tests/controller/test_transition_tables.py"},
        ),
    ],
)
def test_who_imports_or_starts_what_changed_is_run(
    changed: str, found: set[str], spared: set[str]
) -> None:
    """Through other modules, by the name of a program, by a folder's conftest, by a page's name."""
    chosen = set(depending_on([changed]))

    assert found <= chosen
    assert not spared & chosen


def test_what_all_tests_rest_on_has_all_of_them_run() -> None:
    """Settings of pytest, for one, reach every test."""
    assert len(depending_on(["pyproject.toml"])) > len(depending_on(["docs/operating.md"]))
    assert "tests/controller/test_transition_tables.py" in depending_on(["pyproject.toml"])
