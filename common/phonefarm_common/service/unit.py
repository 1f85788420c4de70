"""The parts of a unit that all services of the farm share."""

from pathlib import Path
from typing import Final

_CONFINEMENT: Final = """\
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome=yes
PrivateTmp=yes
{devices}
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
{families}
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM"""

_INTERNET: Final = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
_NO_DEVICES: Final = "PrivateDevices=yes"

_SERVER: Final = """\
# `{name} install` writes this file again each time: change it with `systemctl edit`.
[Unit]
Description={description}
Wants=network-online.target
After={after}
RequiresMountsFor={state}
# Never give up: what the program waits for may come back at any time.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} ${options}
Environment=PHONEFARM_PRODUCTION=1
EnvironmentFile={environment}
User={name}
Group={name}
TimeoutStartSec=120
TimeoutStopSec={stop_seconds}
Restart=always
RestartSec=2
# 2: a setting is wrong. Only a person can correct it; another start would fail again.
RestartPreventExitStatus=2
LimitNOFILE=65536

# What the program may touch: its state and the network. No more.
{confinement}
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def confinement(
    *, writable: tuple[Path, ...], devices: str = _NO_DEVICES, families: str = _INTERNET
) -> str:
    """Return the lines that confine a service to *writable* and the network.

    *devices* and *families* are the lines for the devices and the kinds of sockets that it needs.
    A folder of *writable* that is missing does not prevent the start, except the first.
    """
    first, *others = writable
    words = " ".join([str(first), *(f"-{path}" for path in others)])
    return _CONFINEMENT.format(writable=words, devices=devices, families=families)


def server_unit(
    *,
    name: str,
    description: str,
    after: str,
    command: str,
    options: str,
    environment: Path,
    state: Path,
    also_writable: tuple[Path, ...],
    stop_seconds: int,
) -> str:
    """Return the unit of a controller or a gateway; *options*: the setting with its options."""
    return _SERVER.format(
        name=name,
        description=description,
        after=after,
        command=command,
        options=options,
        environment=environment,
        state=state,
        stop_seconds=stop_seconds,
        confinement=confinement(writable=(state, *also_writable)),
    )
