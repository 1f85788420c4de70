"""Builds the files that `install` writes: unit, udev rules, environment file."""

from pathlib import Path

from phonefarm_common.service.unit import confinement

from phonefarm_agent.host.paths import AGENT, READY

STEPPED_RESTARTS = 254
"""The first version of systemd with RestartSteps=, which lengthens the pauses between restarts."""

_UNIT = """\
# `phonefarm-agent install` writes this file again each time: change it with `systemctl edit`.
[Unit]
Description=Phonefarm agent: offers this host's phones and runs what the controller assigns
Wants=network-online.target docker.service
After=network-online.target docker.service
RequiresMountsFor={state}
# Never give up: nobody may be near a farm host to repair it.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} run --ready-file {ready} $PHONEFARM_AGENT_OPTIONS
Environment=PHONEFARM_AGENT_STATE={state}
Environment=PHONEFARM_PRODUCTION=1
EnvironmentFile={environment}
User={name}
Group={name}
# Whoever may use the engine's socket may do anything on this host: see docs/hosts.md.
SupplementaryGroups={docker_group}
RuntimeDirectory={name}

# Ready: the agent has reached a controller, or has tried for 10 s. Then a thread feeds the watchdog
# while event loop and journal work. On SIGABRT Python logs where each thread stood.
TimeoutStartSec=90
WatchdogSec=30
TimeoutAbortSec=10
Restart=always
{restarts}
# 2: a setting is wrong. 5: another agent with this name took over. 6: the controller refused this
# agent. Only a person can correct these; another start would fail again, or take over the name.
RestartPreventExitStatus=2 5 6
# systemd sends SIGTERM to the agent alone, which ends its adb server, and then kills the rest of
# the unit. Run containers belong to the engine: they continue; the next agent takes them back.
KillMode=mixed
TimeoutStopSec=110
# One process killed for memory (the adb server, say) must not end the agent.
OOMPolicy=continue
LimitNOFILE=65536

# What the agent may touch: its state, the network, USB devices, the engine's socket. No more.
{confinement}
# Others cannot enter the state directory; below it, run containers must be able to read.
UMask=0022

[Install]
WantedBy=multi-user.target
"""

_DEVICES = "DevicePolicy=closed\nDeviceAllow=char-usb_device rw"
_FAMILIES = """\
# Netlink: how adb hears that a phone was plugged in.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"""

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
# Settings of phonefarm-agent on this host; only root may read this file, because it has a secret.
# After a change: systemctl restart phonefarm-agent. `phonefarm-agent doctor` checks the settings.

# If this host has joined with `phonefarm-agent join TOKEN`, leave the next three settings empty:
# the certificate contains them. Otherwise set HOST:PORT of the controller's gRPC, on loopback.
PHONEFARM_AGENT_CONTROLLER={controller}
# The name of this host in the farm; no other host may have the same name.
PHONEFARM_AGENT_NAME={name}
# The token of this agent. You can instead name a file with the token; the user phonefarm-agent must
# be able to read the file.
{token}
# Further options of `phonefarm-agent run`: --connect 10.0.0.21:5555 for a network phone, and so on.
PHONEFARM_AGENT_OPTIONS={options}
#PHONEFARM_LOG_LEVEL=info
# The socket of a container engine other than /run/docker.sock, for example of a rootless engine:
#DOCKER_HOST=unix:///run/docker.sock
"""


def unit(*, command: str, state: Path, docker_group: str, systemd: int) -> str:
    """Return the unit for a host whose systemd has the version *systemd*."""
    restarts = ["RestartSec=5"]
    if systemd >= STEPPED_RESTARTS:
        restarts = ["RestartSec=2", "RestartSteps=8", "RestartMaxDelaySec=120"]
    return _UNIT.format(
        name=AGENT.name,
        command=command,
        state=state,
        environment=AGENT.environment,
        ready=READY,
        docker_group=docker_group,
        restarts="\n".join(restarts),
        confinement=confinement(writable=(state,), devices=_DEVICES, families=_FAMILIES),
    )


def rules() -> str:
    """Return the udev rules that give phones to the agent's group."""
    return _RULES.format(user=AGENT.name)


def environment(*, controller: str, name: str, token_file: str, options: str) -> str:
    """Return an environment file; what is empty is left for a person to fill in."""
    token = (
        f"PHONEFARM_AGENT_TOKEN_FILE={token_file}"
        if token_file
        else "PHONEFARM_AGENT_TOKEN=\n#PHONEFARM_AGENT_TOKEN_FILE=/etc/phonefarm-agent/token"
    )
    return _ENVIRONMENT.format(controller=controller, name=name, token=token, options=options)
