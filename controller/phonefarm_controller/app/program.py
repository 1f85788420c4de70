"""The program `phonefarm-controller`: reads its options and runs a controller until a signal."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from phonefarm_common import config, lifecycle, logs
from phonefarm_common.channel import is_loopback
from phonefarm_common.endpoints import parse_controllers
from phonefarm_common.ids import is_name

from phonefarm_controller.app.controller import running
from phonefarm_controller.capabilities.fields import is_http
from phonefarm_controller.evidence.availability import BackendAwayError
from phonefarm_controller.evidence.backends.s3_address import FORM, SCHEME, S3Address, read_bucket
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.retention import read_duration, read_retention
from phonefarm_controller.settings import Settings
from phonefarm_controller.store.database import DatabaseTakenError
from phonefarm_controller.store.migrate import DatabaseUnusableError

SWITCH_SECONDS = 0.0005
_EXIT_CODES: Final[Mapping[tuple[type[Exception], ...], int]] = {
    (DatabaseTakenError, DatabaseUnusableError, DatabaseBusyError, BackendAwayError): 3,
    (config.ConfigError, ValueError, OSError): 2,
}
"""The exit code for each error with which a start fails and that an operator can correct."""


def run(options: argparse.Namespace) -> int:
    """Run a controller until SIGTERM or SIGINT; return the exit code."""
    # The thread that commits must not wait the default 5 ms for the interpreter's lock.
    sys.setswitchinterval(SWITCH_SECONDS)
    logs.configure_logs(program="controller", level=options.log_level)
    try:
        return asyncio.run(_serve(_settings(options)))
    except _StartError as error:
        lifecycle.complain("phonefarm-controller", str(error.__cause__))
        return error.code
    except (config.ConfigError, ValueError) as error:
        lifecycle.complain("phonefarm-controller", str(error))
        return 2


class _StartError(Exception):
    """The controller could not start, and an operator can correct the reason; it is the cause."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def _only(error: Exception) -> BaseException:
    """Return the one error in groups within groups; a group of several as it is."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found


def _settings(options: argparse.Namespace) -> Settings:
    host, port = config.address(options.listen, name="--listen")
    if not is_loopback(host):
        raise config.ConfigError(
            f"--listen: {host} is not a loopback address, and --listen does not use TLS: for "
            "other hosts, give --tls-listen and --mtls-listen"
        )
    if not is_name(options.farm):
        raise config.ConfigError("--farm must be 1 to 128 characters from A-Z a-z 0-9 . _ : -")
    data = options.data.absolute()
    tls, mtls = (
        config.address(text, name=name) if text else None
        for name, text in (
            ("--tls-listen", options.tls_listen),
            ("--mtls-listen", options.mtls_listen),
        )
    )
    if (tls is None) != (mtls is None):
        raise config.ConfigError(
            "--tls-listen and --mtls-listen require each other: give both or neither"
        )
    for option, given in (("--name", options.name), ("--ca", options.ca)):
        if given and mtls is None:
            raise config.ConfigError(f"{option} is for other hosts: give --mtls-listen too")
    several: tuple[str, ...] = ()
    if options.controllers:
        several = parse_controllers(options.controllers, name="--controllers")
        if mtls is None:
            raise config.ConfigError("--controllers is for hosts that join: give --mtls-listen too")
    return Settings(
        host=host,
        port=port,
        database_url=_database(options) or f"sqlite:///{data / 'farm.db'}",
        data=data,
        farm_id=options.farm,
        ingest_secret=config.secret("INGEST_SECRET"),
        agent_token=config.secret("PHONEFARM_AGENT_TOKEN"),
        gateway_token=config.secret("PHONEFARM_GATEWAY_TOKEN"),
        timers=config.timers(),
        time_scale=config.time_scale(),
        production=config.production(),
        ready_file=options.ready_file,
        metrics=_metrics(options),
        keep=read_retention(options.keep_evidence, options.keep_processes),
        max_wait=read_duration(options.max_wait, name="--max-wait"),
        golden_every=read_duration(options.golden_every, name="--golden-every"),
        screens=_screens(options.screens),
        paused=options.paused,
        tls=tls,
        mtls=mtls,
        names=tuple(options.name),
        controllers=several,
        evidence=_evidence(options.evidence),
        authority=options.ca.absolute() if options.ca else None,
        alert_url=_alert_url(),
    )


def _alert_url() -> str | None:
    url = config.secret("PHONEFARM_ALERT_URL")
    if url and not is_http(url):
        raise config.ConfigError("PHONEFARM_ALERT_URL must be an http or https URL")
    return url


def _screens(most: int) -> int:
    if most < 0:
        raise config.ConfigError(f"--screens must be 0 or more, not {most}")
    return most


def _database(options: argparse.Namespace) -> str | None:
    url: str | None = options.database or config.given_secret(
        options.database_file, option="--database-file", name="PHONEFARM_DATABASE"
    )
    if url and not url.startswith(("sqlite:///", "postgresql://", "postgresql+asyncpg://")):
        raise config.ConfigError("--database must be sqlite:///FILE or postgresql://USER@HOST/NAME")
    return url


def _evidence(text: str | None) -> Path | S3Address | None:
    if not text:
        return None
    if text.startswith(SCHEME):
        return read_bucket(text)
    if "://" in text:
        raise config.ConfigError(f"--evidence must be a directory or have the form {FORM}")
    return Path(text).absolute()


def _metrics(options: argparse.Namespace) -> tuple[str, int] | None:
    if options.metrics is None:
        if options.metrics_for_all:
            raise config.ConfigError("--metrics-for-all requires --metrics: give both")
        return None
    host, port = config.address(options.metrics, name="--metrics")
    if not is_loopback(host) and not options.metrics_for_all:
        raise config.ConfigError(
            f"--metrics: {host} is not a loopback address, so other hosts could read the metrics: "
            "use 127.0.0.1, or give --metrics-for-all"
        )
    return host, port


async def _serve(settings: Settings) -> int:
    async with lifecycle.stop_signals() as stop, AsyncExitStack() as stack:
        try:
            controller = await stack.enter_async_context(running(settings))
        except Exception as error:
            cause = _only(error)
            for kinds, code in _EXIT_CODES.items():
                if isinstance(cause, kinds):
                    raise _StartError(code) from cause
            raise
        facts = {"grpc": config.shown_address(settings.host, controller.port), "pid": os.getpid()}
        facts |= {"metrics_port": controller.metrics_port}
        facts |= {"tls_port": controller.tls_port, "mtls_port": controller.mtls_port}
        lifecycle.write_private_json(settings.ready_file, facts)
        lifecycle.notify_systemd("READY=1")
        await stop.wait()
    return 0
