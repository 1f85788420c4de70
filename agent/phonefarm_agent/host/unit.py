"""Builds the files that `install` writes: unit, udev rules, environment file."""

from pathlib import Path

from phonefarm_agent.host.paths import ENVIRONMENT, READY, SERVICE, USER

STEPPED_RESTARTS = 254
"""The first systemd whose restarts can be spaced further and further apart (RestartSteps=)."""

_UNIT = """\
# Written by `phonefarm-agent install`, which writes it anew: change it by `systemctl edit`.
[Unit]
Description=Phonefarm agent: offers this host's phones and runs what the controller assigns
Wants=network-online.target docker.service
After=network-online.target docker.service
RequiresMountsFor={state}
# Never give up: a farm host is mended from far away.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} run --ready-file {ready} $PHONEFARM_AGENT_OPTIONS
Environment=PHONEFARM_AGENT_STATE={state}
Environment=PHONEFARM_PRODUCTION=1
EnvironmentFile={environment}
User={user}
Group={user}
# Who may use the engine's socket may do anything on this host: see docs/hosts.md.
SupplementaryGroups={docker_group}
RuntimeDirectory={service}

# Ready: the controller was reached, or is known not to be. Then a thread feeds the watchdog while
# event loop and journal prove that they work; SIGABRT makes Python tell where it stood.
TimeoutStartSec=90
WatchdogSec=30
TimeoutAbortSec=10
Restart=always
{restarts}
# 2: a setting is wrong. 5: another agent of this name took over. 6: the controller refused this
# one. Only a person can mend these; a start would repeat them, or take the name back and forth.
RestartPreventExitStatus=2 5 6
# SIGTERM to the agent alone, which ends its adb server; whatever is left of the unit is killed.
# Run containers are the engine's, not the unit's: they go on and are taken back at the next start.
KillMode=mixed
TimeoutStopSec=110
# One process killed for memory (the adb server, say) must not end the agent.
OOMPolicy=continue
LimitNOFILE=65536

# What the agent may touch: its state, the network, USB devices, the engine's socket. No more.
ProtectSystem=strict
ReadWritePaths={state}
ProtectHome=yes
PrivateTmp=yes
DevicePolicy=closed
DeviceAllow=char-usb_device rw
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
# Netlink: how adb hears that a phone was plugged in.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
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
SystemCallErrorNumber=EPERM
# The state directory is closed to others; below it the run container's user must be able to read.
UMask=0022

[Install]
WantedBy=multi-user.target
"""

_RULES = """\
# Written by `phonefarm-agent install`.
# Any phone with USB debugging on, whoever made it: adb's interface is class ff, subclass 42,
# protocol 01 (ADB_CLASS, ADB_SUBCLASS, ADB_PROTOCOL in adb.h of AOSP's packages/modules/adb).
# ID_USB_INTERFACES comes from systemd's usb_id (50-udev-default.rules) and has every interface as
# :ccsspp:.
ACTION!="remove", SUBSYSTEM=="usb", ENV{{DEVTYPE}}=="usb_device", \
ENV{{ID_USB_INTERFACES}}=="*:ff4201:*", MODE="0660", GROUP="{user}"
"""

_ENVIRONMENT = """\
# Settings of phonefarm-agent on this host; for root alone, because it holds a secret.
# After a change: systemctl restart phonefarm-agent. `phonefarm-agent doctor` looks at all of it.

# After `phonefarm-agent join TOKEN` the next three stay empty: the certificate says it all.
# Without: HOST:PORT of the controller's gRPC, on loopback.
PHONEFARM_AGENT_CONTROLLER={controller}
# This host's name in the farm: no two hosts may have the same.
PHONEFARM_AGENT_NAME={name}
# What proves who calls: the token itself, or a file that the user phonefarm-agent can read.
{token}
# Further options of `phonefarm-agent run`: --connect 10.0.0.21:5555 for a network phone, and so on.
PHONEFARM_AGENT_OPTIONS={options}
#PHONEFARM_LOG_LEVEL=info
# An engine elsewhere than /run/docker.sock, for example a rootless one:
#DOCKER_HOST=unix:///run/docker.sock
"""


def unit(*, command: str, state: Path, docker_group: str, systemd: int) -> str:
    """Return the unit for a host whose systemd has the version *systemd*."""
    restarts = ["RestartSec=5"]
    if systemd >= STEPPED_RESTARTS:
        restarts = ["RestartSec=2", "RestartSteps=8", "RestartMaxDelaySec=120"]
    return _UNIT.format(
        service=SERVICE,
        user=USER,
        command=command,
        state=state,
        environment=ENVIRONMENT,
        ready=READY,
        docker_group=docker_group,
        restarts="\n".join(restarts),
    )


def rules() -> str:
    """Return the udev rules that give phones to the agent's group."""
    return _RULES.format(user=USER)


def environment(*, controller: str, name: str, token_file: str, options: str) -> str:
    """Return an environment file; what is empty is left for a person to fill in."""
    token = (
        f"PHONEFARM_AGENT_TOKEN_FILE={token_file}"
        if token_file
        else "PHONEFARM_AGENT_TOKEN=\n#PHONEFARM_AGENT_TOKEN_FILE=/etc/phonefarm-agent/token"
    )
    return _ENVIRONMENT.format(controller=controller, name=name, token=token, options=options)
