"""How to start each program of a farm; they find each other through ready-files."""

import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

from phonefarm_cli.up.child_processes import Program
from phonefarm_cli.up.secrets import (
    AGENT_TOKEN,
    API_KEY,
    DATABASE,
    GATEWAY_TOKEN,
    WEBHOOK_SECRET,
    Secrets,
    without_secrets,
)
from phonefarm_cli.up.settings import Settings

AGENT_ID = "local"
LOOPBACK = ("127.0.0.0/8", "::1/128")


def simulator(settings: Settings) -> Program:
    """Return the simulator."""
    kinds = [word for name in settings.personalities for word in ("--personality", name)]
    data = str(settings.data / "simulator")
    return Program(
        name="simulator",
        module="phonefarm_simulator",
        arguments=("--phones", str(settings.simulate), "--data", data, *kinds),
        environment=without_secrets(settings.environment),
    )


def controllers(settings: Settings, secrets: Secrets) -> list[Program]:
    """Return the controllers, which share one data folder."""
    host = settings.grpc.rpartition(":")[0]
    others = [f"{host}:0"] * (settings.controllers - 1)
    return [
        _controller(settings, secrets, name=name, listen=listen)
        for name, listen in zip(controller_names(settings), (settings.grpc, *others), strict=True)
    ]


def controller_names(settings: Settings) -> list[str]:
    """Return the names of the controllers: controller, controller-2 and so on."""
    more = [f"controller-{number}" for number in range(2, settings.controllers + 1)]
    return ["controller", *more]


def _controller(settings: Settings, secrets: Secrets, *, name: str, listen: str) -> Program:
    # Not among the arguments: every user of the host may read those.
    database = {DATABASE: settings.database} if settings.database else {}
    where = ("--listen", listen, "--data", str(settings.data / "controller"))
    return Program(
        name=name,
        module="phonefarm_controller",
        arguments=(*where, "--farm", secrets.farm),
        environment=_with(settings, secrets.only(API_KEY, AGENT_TOKEN, GATEWAY_TOKEN)) | database,
        group="controllers",
    )


def agent(settings: Settings, secrets: Secrets, *, target: str, phones: Iterable[str]) -> Program:
    """Return the agent of *phones* (HOST:PORT); with simulated phones it scans no USB."""
    # A farm of simulated phones alone has no use for USB, whose scan takes seconds.
    quiet = {"ADB_USB": "0", "ADB_EMU": "0", "ADB_MDNS": "0"} if settings.simulate else {}
    where = ("--controller", target, "--state", str(settings.data / "agent"), "--name", AGENT_ID)
    connect = [word for phone in phones for word in ("--connect", phone)]
    allowed = [word for network in LOOPBACK for word in ("--allow-asset-cidr", network)]
    return Program(
        name="agent",
        module="phonefarm_agent",
        arguments=(
            "run",
            *where,
            "--runtime",
            settings.runtime,
            "--stop-runs-on-exit",
            *allowed,
            *connect,
        ),
        environment=_with(settings, secrets.only(AGENT_TOKEN)) | quiet,
        # So that its runs end with it: they are no children of ours.
        parent_death_signal=signal.SIGTERM,
    )


def gateway(settings: Settings, secrets: Secrets, *, target: str) -> Program:
    """Return the gateway."""
    options = ("--allow-callback-cidr", "--allow-asset-cidr")
    allowed = [word for network in LOOPBACK for option in options for word in (option, network)]
    return Program(
        name="gateway",
        module="phonefarm_gateway",
        arguments=("--listen", settings.rest, "--controller", target, *allowed),
        environment=_with(settings, secrets.only(GATEWAY_TOKEN, WEBHOOK_SECRET)),
    )


def make_data_folder(data: Path) -> None:
    """Make the data folder for its owner only."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)


def _with(settings: Settings, secrets: Mapping[str, str]) -> dict[str, str]:
    return without_secrets(settings.environment) | dict(secrets)
