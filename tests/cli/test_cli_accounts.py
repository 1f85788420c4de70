"""Accounts and groups from the command, against a real controller."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import fleet_pb2
from phonefarm_cli.client.client import ControllerClient, RefusedError
from phonefarm_cli.errors import CommandError
from phonefarm_common.channel import bearer
from support.commanding import Operator
from support.controller import KEY, Farm, farm_on, played_agent

HEADER = "account_id,phone,app,active\n"


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller that knows two phones."""
    async with (
        farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as it,
        played_agent(it, "SIM0001", "SIM0002", admit=False),
    ):
        yield it


@pytest.fixture
def operator(farm: Farm, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Give commands to it."""
    return Operator.of(farm, capsys)


async def accounts(farm: Farm) -> dict[str, Any]:
    """Return every account by id."""
    answer = await farm.fleet.ListAccounts(fleet_pb2.ListAccountsRequest(), metadata=bearer(KEY))
    return {account.account_id: account for account in answer.accounts}


def written(folder: Path, text: str, name: str = "accounts.csv") -> str:
    """Write a file and return its path."""
    path = folder / name
    path.write_text(text)
    return str(path)


async def test_a_file_is_imported_with_any_name_of_a_phone(
    farm: Farm, operator: Operator, tmp_path: Path
) -> None:
    """phone_id, serial number in any case and what adb says are the same phone."""
    file = written(
        tmp_path,
        f"{HEADER}a,ph-sim0001,shortvideo,yes\nb,sim0001,shortvideo,no\n"
        "c,127.0.0.1:SIM0002,shortvideo,\nd,,shortvideo,yes\n",
    )

    told = await operator.command("accounts", "import", file)

    found = await accounts(farm)
    assert {name: (one.phone_id, one.active) for name, one in found.items()} == {
        "a": ("ph-sim0001", True),
        "b": ("ph-sim0001", False),
        "c": ("ph-sim0002", True),
        "d": ("", True),
    }
    assert "4 accounts: 4 new, 0 changed, 0 unchanged" in told.out


async def test_every_wrong_line_is_named_and_nothing_is_imported(
    farm: Farm, operator: Operator, tmp_path: Path
) -> None:
    """Phones nobody knows are found before anything is sent."""
    file = written(
        tmp_path,
        f"{HEADER}a,SIM0001,shortvideo,yes\nb,SIM9,shortvideo,yes\nc,SIM8,shortvideo,yes\n",
    )

    with pytest.raises(CommandError) as caught:
        await operator.command("accounts", "import", file)

    assert "nothing was imported" in str(caught.value)
    assert "line 3: there is no phone SIM9" in str(caught.value)
    assert "line 4: there is no phone SIM8" in str(caught.value)
    assert await accounts(farm) == {}


async def test_an_app_without_a_profile_is_named_by_line(
    farm: Farm, operator: Operator, tmp_path: Path
) -> None:
    """With those there are, before the first chunk is sent."""
    lines = "".join(f"acc-{n},,shortvideo,yes\n" for n in range(1200))
    file = written(tmp_path, f"{HEADER}{lines}b,,noapp,yes\n")

    told = "line 1202: there is no app noapp; known: shortvideo"
    with pytest.raises(CommandError, match=told) as caught:
        await operator.command("accounts", "import", file)

    assert "nothing was imported" in str(caught.value)
    assert await accounts(farm) == {}


async def test_a_dry_run_says_what_would_change_and_changes_nothing(
    farm: Farm, operator: Operator, tmp_path: Path
) -> None:
    """New, changed and unchanged ones are counted."""
    first = written(tmp_path, f"{HEADER}a,SIM0001,shortvideo,yes\nb,,shortvideo,yes\n")
    await operator.command("accounts", "import", first)
    before = await accounts(farm)
    second = written(
        tmp_path, f"{HEADER}a,SIM0001,shortvideo,yes\nb,,shortvideo,no\nc,,shortvideo,\n"
    )

    told = await operator.command("accounts", "import", second, "--dry-run")

    assert "1 new, 1 changed, 1 unchanged; nothing was imported" in told.out
    assert await accounts(farm) == before


async def test_what_list_prints_is_what_import_takes(
    farm: Farm, operator: Operator, tmp_path: Path
) -> None:
    """The round trip keeps everything, a need for attention too."""
    await operator.command(
        "accounts", "import", written(tmp_path, f"{HEADER}a,SIM0001,shortvideo,\n")
    )
    ill = fleet_pb2.Account(
        account_id="b",
        app="shortvideo",
        condition="needs_attention",
        condition_reason='logged out, it said "later"',
    )
    await farm.fleet.PutAccount(fleet_pb2.PutAccountRequest(account=ill), metadata=bearer(KEY))
    before = await accounts(farm)
    kept = written(
        tmp_path, (await operator.command("accounts", "list", "--json")).out, "kept.json"
    )
    for account_id in before:
        gone = fleet_pb2.Account(account_id=account_id, app="shortvideo", active=False)
        await farm.fleet.PutAccount(fleet_pb2.PutAccountRequest(account=gone), metadata=bearer(KEY))

    told = await operator.command("accounts", "import", kept)

    assert await accounts(farm) == before
    assert "2 accounts: 0 new, 2 changed" in told.out


async def test_an_import_that_says_nothing_of_it_keeps_the_need_for_attention(
    farm: Farm, operator: Operator, tmp_path: Path
) -> None:
    """Only `accounts put`, or a file with the column, ends it."""
    ill = fleet_pb2.Account(
        account_id="a", app="shortvideo", condition="needs_attention", condition_reason="asked"
    )
    await farm.fleet.PutAccount(fleet_pb2.PutAccountRequest(account=ill), metadata=bearer(KEY))

    await operator.command(
        "accounts", "import", written(tmp_path, f"{HEADER}a,SIM0001,shortvideo,yes\n")
    )

    found = (await accounts(farm))["a"]
    assert (found.condition, found.condition_reason) == ("needs_attention", "asked")
    assert found.phone_id == "ph-sim0001"


async def test_five_thousand_lines_go_in_chunks(
    farm: Farm, operator: Operator, tmp_path: Path
) -> None:
    """A thousand a call, and stderr says how far it is."""
    lines = "".join(f"acc-{n},,shortvideo,yes\n" for n in range(5000))

    told = await operator.command("accounts", "import", written(tmp_path, HEADER + lines))

    assert len(await accounts(farm)) == 5000
    assert "5000 accounts: 5000 new" in told.out
    assert [line.strip() for line in told.err.splitlines()] == [
        f"{n} of 5000" for n in (1000, 2000, 3000, 4000, 5000)
    ]


async def test_a_chunk_that_fails_says_how_far_it_came(
    farm: Farm, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller's refusal is told with the file's line; the chunks before it stand."""
    real = ControllerClient.call

    async def spoil(self: ControllerClient, method: Any, request: Any, **how: Any) -> Any:
        if (
            isinstance(request, fleet_pb2.PutAccountsRequest)
            and request.accounts[0].account_id == "acc-1000"
        ):
            request.accounts[7].phone_id = "ph-gone"  # it went between the look and the call
        return await real(self, method, request, **how)

    monkeypatch.setattr(ControllerClient, "call", spoil)
    lines = "".join(f"acc-{n},,shortvideo,yes\n" for n in range(1500))

    with pytest.raises(CommandError) as caught:
        await operator.command("accounts", "import", written(tmp_path, HEADER + lines))

    assert "line 1009: phone_id" in str(caught.value)
    assert "1000 of 1500 new or changed accounts were imported, up to" in str(caught.value)
    assert len(await accounts(farm)) == 1000


@pytest.mark.parametrize(
    ("name", "told"), [("gone.csv", "cannot be read"), ("accounts.txt", "--format")]
)
async def test_a_file_that_cannot_be_read_is_named(
    operator: Operator, tmp_path: Path, name: str, told: str
) -> None:
    """Absent, or of no known form."""
    with pytest.raises(CommandError, match=told) as caught:
        await operator.command("accounts", "import", str(tmp_path / name))

    assert name in str(caught.value)


async def test_groups_are_made_listed_and_replaced(farm: Farm, operator: Operator) -> None:
    """Phones by any of their names, accounts by id; --json has every member."""
    await farm.admit(["SIM0001", "SIM0002"])

    made = await operator.command("groups", "put", "rack", "--phones", "sim0002", "ph-sim0001")
    await operator.command("groups", "put", "launch", "--accounts", "acc-SIM0001")
    listed = json.loads((await operator.command("groups", "list", "--json")).out)
    await operator.command("groups", "put", "rack", "--phones", "SIM0001")
    rows = (await operator.command("groups", "list")).rows

    assert "rack: 2 phones: ph-sim0002, ph-sim0001" in made.out
    found = {one["name"]: (one["kind"], sorted(one["member_ids"])) for one in listed}
    assert found == {
        "rack": ("phone", ["ph-sim0001", "ph-sim0002"]),
        "launch": ("account", ["acc-SIM0001"]),
    }
    assert ["rack", "phone", "1", "-", "ph-sim0001"] in rows


async def test_members_are_added_and_removed_and_groups_deleted(
    farm: Farm, operator: Operator
) -> None:
    """Nobody has to repeat who else is in it; a name that two groups have needs its kind."""
    await farm.admit(["SIM0001", "SIM0002"])

    made = await operator.command("groups", "add", "rack", "--phones", "SIM0001", "SIM0002")
    less = await operator.command("groups", "remove", "rack", "--phones", "SIM0001")
    await operator.command("groups", "add", "rack", "--accounts", "acc-SIM0001")
    with pytest.raises(CommandError, match="--kind phone or --kind account"):
        await operator.command("groups", "delete", "rack")
    await operator.command("groups", "delete", "rack", "--kind", "account")
    gone = await operator.command("groups", "delete", "rack", "--reason", "moved")
    with pytest.raises(CommandError, match="there is no group rack"):
        await operator.command("groups", "delete", "rack")

    assert "rack: 2 phones: ph-sim0001, ph-sim0002" in made.out
    assert "rack: 1 phone: ph-sim0002" in less.out
    assert "rack: removed" in gone.out


async def test_an_account_is_deleted(farm: Farm, operator: Operator) -> None:
    """It is gone from the list, and the audit says who did it and why."""
    await operator.command("accounts", "put", "acc-old", "--app", "shortvideo")

    told = await operator.command("accounts", "delete", "acc-old", "--reason", "its owner left")

    assert "acc-old: removed from the farm" in told.out
    assert "acc-old" not in await accounts(farm)
    assert "its owner left" in (await operator.command("audit", "--json")).out


async def test_alerts_of_a_farm_without_an_alert_url(operator: Operator) -> None:
    """The list and the test say how to set it."""
    listed = await operator.command("alerts", "list")
    with pytest.raises(RefusedError, match="set PHONEFARM_ALERT_URL"):
        await operator.command("alerts", "test")
    with pytest.raises(CommandError, match="no event yet"):
        await operator.command("alerts", "replay")
    with pytest.raises(RefusedError, match="no_alert_url"):
        await operator.command("alerts", "replay", "7")

    assert "set PHONEFARM_ALERT_URL(_FILE) for every controller" in listed.out + listed.err


async def test_a_group_says_what_is_cleaned_behind_a_run(farm: Farm, operator: Operator) -> None:
    """Set, listed, taken back, each with its reason in the audit; unknown groups are refused."""
    await farm.admit(["SIM0001"])
    await operator.command("groups", "put", "rack", "--phones", "SIM0001")
    words = ["groups", "clean-up", "rack", "--reason", "slow to start"]

    told = await operator.command(*words, "--steps", "home", "remove_added")
    rows = (await operator.command("groups", "list")).rows
    await operator.command(*words, "--default")
    after = (await operator.command("groups", "list")).rows
    audit = (await operator.command("audit", "--json")).out
    with pytest.raises(RefusedError, match="unknown_group:rack-9"):
        await operator.command("groups", "clean-up", "rack-9", "--default", "--reason", "x")

    assert "rack: clean-up is home remove_added" in told.out
    assert ["rack", "phone", "1", "home remove_added", "ph-sim0001"] in rows
    assert ["rack", "phone", "1", "-", "ph-sim0001"] in after
    assert "set clean-up to home remove_added" in audit
    assert "slow to start" in audit


async def test_a_group_of_strangers_is_refused(operator: Operator) -> None:
    """All that are unknown are named, and what is known."""
    with pytest.raises(CommandError, match="no phone SIM8, SIM9; known: ph-sim0001, ph-sim0002"):
        await operator.command("groups", "put", "rack", "--phones", "SIM8", "SIM0001", "SIM9")
    with pytest.raises(RefusedError, match="unknown_account:nobody"):
        await operator.command("groups", "put", "launch", "--accounts", "nobody")
    with pytest.raises(CommandError, match=r"group\.name"):
        await operator.command("groups", "put", "a b", "--phones", "SIM0001")


async def test_phones_are_admitted_by_any_of_their_names(farm: Farm, operator: Operator) -> None:
    """All that are named, or none when one is not known; --json tells every axis."""
    with pytest.raises(CommandError, match="there is no phone SIM9"):
        await operator.command("phones", "admit", "SIM0001", "SIM9")
    before = json.loads((await operator.command("phones", "list", "--json")).out)

    told = await operator.command("phones", "admit", "sim0001", "127.0.0.1:SIM0002")

    after = json.loads((await operator.command("phones", "list", "--json")).out)
    assert [phone["intent"] for phone in before] == ["new", "new"]
    assert [phone["intent"] for phone in after] == ["in_service", "in_service"]
    assert after[0]["readiness"] == "ready"
    assert "ph-sim0002: was new, is in service" in told.out


async def test_a_key_without_the_scope_is_told_which(
    farm: Farm, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """And how to get one that has it."""
    made = await operator.command("keys", "create", "looker", "--scope", "read")
    looker = Operator(f"127.0.0.1:{farm.controller.port}", capsys, key=made.out.split()[-1])

    listed = await looker.command("phones", "list", "--json")
    with pytest.raises(RefusedError, match=r"insufficient_scope:operate: .*phonefarm keys create"):
        await looker.command("phones", "admit", "SIM0001")

    assert len(json.loads(listed.out)) == 2
