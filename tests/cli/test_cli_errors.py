"""The operator's commands where something is wrong: each says what, and what to do."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from phonefarm.v1 import fleet_pb2, process_pb2
from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.errors import CommandError
from phonefarm_cli.main import main
from support.controller import KEY, Farm, farm_on, played_agent

NOBODY = "127.0.0.1:9"


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as it:
        yield it


def test_no_farm_is_said_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that needs a running farm names the folder and how to start one."""
    commands = [
        ["phones", "list"],
        ["accounts", "list"],
        ["processes", "list"],
        ["processes", "cancel", "x", "--reason", "y"],
        ["sim", "state", "SIM0001"],
    ]
    for command in commands:
        assert main([*command, "--data", str(tmp_path)]) == 1

        told = capsys.readouterr().err
        assert f"no farm runs with the data folder {tmp_path}" in told
        assert "`phonefarm up`" in told
        assert "Traceback" not in told


def test_a_controller_that_does_not_answer_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address and key may come from the environment as well."""
    monkeypatch.setenv("PHONEFARM_GRPC", NOBODY)
    monkeypatch.setenv("PHONEFARM_KEY", "a-key")

    assert main(["phones", "list"]) == 1
    told = capsys.readouterr().err
    assert f"the controller at {NOBODY} does not answer" in told
    assert "TLS port, give --ca" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--grpc", "10.0.0.1:7070"], "plaintext gRPC is for loopback only"),
        (["--grpc", "nonsense"], "--grpc must be HOST:PORT"),
        (["--grpc", NOBODY, "--key", "two words"], "--key: a key contains only ASCII characters"),
        (["--grpc", NOBODY, "--key", "clé"], "--key: a key contains only ASCII characters"),
    ],
)
def test_an_address_that_cannot_be_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the option's name."""
    assert main(["phones", "list", "--key", "k", *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"phones": [{"x": 1}]}', "null"])
def test_a_broken_report_is_named(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """up.json of another version, or cut short, is named and not followed."""
    (tmp_path / "up.json").write_text(content)

    assert main(["phones", "list", "--data", str(tmp_path)]) == 2
    assert f"{tmp_path / 'up.json'} cannot be used" in capsys.readouterr().err


def test_a_fault_needs_simulated_phones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A farm of real phones has none to break."""
    facts = dict.fromkeys(("rest", "grpc", "adb", "api_key", "webhook_secret", "runtime"), "x")
    told = facts | {"phones": [], "pids": {}, "simulator_control": ""}
    (tmp_path / "up.json").write_text(json.dumps(told))

    assert main(["sim", "fault", "x", "slow", "--data", str(tmp_path)]) == 1
    assert "has no simulated phones" in capsys.readouterr().err


async def test_refusals_of_the_controller_are_passed_on(farm: Farm) -> None:
    """Reason, sentence and fields as the controller told them; a wrong key has its own remedy."""
    target = f"127.0.0.1:{farm.controller.port}"
    process_id = "11111111-1111-1111-1111-111111111111"
    get = process_pb2.GetProcessRequest(process_id=process_id)
    admit = fleet_pb2.AdmitPhoneRequest(phone_id="ph-x")
    give_back = fleet_pb2.ReturnPhoneRequest(phone_id="ph-x", reason=" ")
    cancel = process_pb2.CancelProcessRequest(reason="r", requested_by="t")
    async with ControllerClient.opened(target, KEY) as controller:
        with pytest.raises(CommandError, match="unknown_process"):
            await controller.call(controller.processes.GetProcess, get)
        with pytest.raises(CommandError, match="unknown_phone:ph-x"):
            await controller.call(controller.fleet.AdmitPhone, admit)
        with pytest.raises(CommandError, match="reason"):
            await controller.call(controller.fleet.ReturnPhone, give_back)
        with pytest.raises(CommandError, match="unknown_process"):
            await controller.call(controller.processes.CancelProcess, cancel)
    async with ControllerClient.opened(target, "wrong") as stranger:
        with pytest.raises(CommandError, match=r"does not know this key.*--key"):
            await stranger.phones()


async def test_a_phone_is_found_by_any_of_its_names(farm: Farm) -> None:
    """phone_id, what adb calls it, serial number in any case; another is refused with a list."""
    async with (
        played_agent(farm, "SIM0001", "SIM0002"),
        ControllerClient.opened(f"127.0.0.1:{farm.controller.port}", KEY) as controller,
    ):
        for word in ("ph-sim0002", "127.0.0.1:SIM0002", "SIM0002", "sim0002"):
            assert (await find_phone(controller, word)).phone_id == "ph-sim0002"
        with pytest.raises(CommandError, match=r"no phone SIM9; known: ph-sim0001, ph-sim0002"):
            await find_phone(controller, "SIM9")


async def test_an_unknown_phone_does_not_list_a_whole_farm(farm: Farm) -> None:
    """Five phones are named; the others are counted, with the command that lists them."""
    serials = [f"SIM{number:04}" for number in range(7)]
    async with (
        played_agent(farm, *serials),
        ControllerClient.opened(f"127.0.0.1:{farm.controller.port}", KEY) as controller,
    ):
        with pytest.raises(CommandError) as caught:
            await find_phone(controller, "SIM9")

    assert str(caught.value).endswith("ph-sim0004, and 2 more (`phonefarm phones list`)")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["up"],
        ["demo"],
        ["processes", "list"],
        ["processes", "show"],
        ["processes", "cancel"],
        ["processes", "watch"],
        ["processes", "timeline"],
        ["processes", "explain"],
        ["processes", "deliveries"],
        ["processes", "replay"],
        ["processes", "evidence"],
        ["capabilities", "list"],
        ["capabilities", "verify"],
        ["profiles", "list"],
        ["profiles", "check"],
        ["phones", "list"],
        ["phones", "return"],
        ["phones", "admit"],
        ["accounts", "list"],
        ["accounts", "put"],
        ["accounts", "import"],
        ["phones", "show"],
        ["phones", "needs-hands"],
        ["audit"],
        ["groups", "list"],
        ["groups", "put"],
        ["keys", "create"],
        ["keys", "list"],
        ["keys", "revoke"],
        ["console"],
        ["sim", "state"],
        ["sim", "fault"],
    ],
)
def test_every_command_explains_itself(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """--help of every command says what it does and ends with 0."""
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])

    assert caught.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 8
