"""The onboarding, with a real controller and an agent that the test plays."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from phonefarm.v1 import fleet_pb2
from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.up.onboarding import PhoneOnboarding
from support.controller import KEY, Farm, farm_on, played_agent, request


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as it:
        yield it


@pytest.fixture
async def controller(farm: Farm) -> AsyncIterator[ControllerClient]:
    """Yield the command's client of it."""
    async with ControllerClient.opened(f"127.0.0.1:{farm.controller.port}", KEY) as it:
        yield it


def _onboarding(
    controller: ControllerClient,
    *simulated: str,
    connected: tuple[str, ...] = (),
    patience: float = 10,
) -> PhoneOnboarding:
    return PhoneOnboarding(
        controller=controller,
        agent_id="agent-1",
        simulated={serialno: f"127.0.0.1:{serialno}" for serialno in simulated},
        connected=connected,
        patience=patience,
    )


async def test_simulated_phones_get_an_account_and_others_do_not(
    farm: Farm, controller: ControllerClient
) -> None:
    """Every phone of our agent is admitted; only simulated ones are given an account."""
    async with played_agent(farm, "SIM0001", "REAL", admit=False) as agent:
        await agent.offer()
        onboarding = _onboarding(controller, "SIM0001", connected=("127.0.0.1:REAL",))

        await onboarding.wait_until_settled()

        told = {phone.phone_id: phone.account_id for phone in onboarding.phones}
        assert told == {"ph-sim0001": "sim-0001", "ph-real": ""}
        assert all(phone.intent == "in_service" for phone in await controller.phones())
        (account,) = await controller.accounts()
        assert (account.phone_id, account.app, account.active) == ("ph-sim0001", "shortvideo", True)


async def test_another_agents_phones_are_not_ours(farm: Farm, controller: ControllerClient) -> None:
    """A phone of an agent that somebody else runs waits for its own operator."""
    async with played_agent(farm, "OTHER", agent_id="agent-2", admit=False):
        onboarding = _onboarding(controller)

        await onboarding.wait_until_settled()

        assert onboarding.phones == ()
        (phone,) = await controller.phones()
        assert phone.intent == "new"


async def test_a_phone_that_comes_later_is_admitted(
    farm: Farm, controller: ControllerClient
) -> None:
    """`up` goes on looking for phones after its start."""
    onboarding = _onboarding(controller, "SIM0002")
    refreshes = onboarding.refreshes()
    async with played_agent(farm, "SIM0002", admit=False):
        async with asyncio.timeout(180):
            await anext(refreshes)

        assert [phone.account_id for phone in onboarding.phones] == ["sim-0002"]
    await refreshes.aclose()


async def test_an_account_made_inactive_stays_so(farm: Farm, controller: ControllerClient) -> None:
    """What an operator changed is not changed back at the next start."""
    async with played_agent(farm, "SIM0001", admit=False) as agent:
        await agent.offer()
        await _onboarding(controller, "SIM0001").wait_until_settled()
        account = fleet_pb2.Account(
            account_id="sim-0001", phone_id="ph-sim0001", app="shortvideo", active=False
        )
        put = fleet_pb2.PutAccountRequest(account=account)
        await controller.call(controller.fleet.PutAccount, put)

        onboarding = _onboarding(controller, "SIM0001")
        await onboarding.wait_until_settled()

        (kept,) = await controller.accounts()
        assert not kept.active
        assert onboarding.phones[0].account_id == ""


async def test_a_phone_at_work_keeps_nobody_waiting(
    farm: Farm, controller: ControllerClient
) -> None:
    """Work that was queued before the start is begun before the farm is ready."""
    async with played_agent(farm, "SIM0001") as agent:
        await agent.offer()
        await farm.enqueue(request())
        await agent.assigned()

        await asyncio.wait_for(_onboarding(controller, "SIM0001").wait_until_settled(), 60)


async def test_phones_that_stay_away_are_named(
    farm: Farm, controller: ControllerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is not offered is told with its reason, one never seen with its address."""
    async with played_agent(farm, "SIM0001", admit=False):
        onboarding = _onboarding(controller, "SIM0001", connected=("10.0.0.21:5555",), patience=0.3)

        await onboarding.wait_until_settled()

    told = capsys.readouterr().out
    assert "ph-sim0001 is not offered" in told
    assert "no phone answers at 10.0.0.21:5555 yet" in told
