"""The options of `phonefarm-agent run`, and the settings that they and the environment give."""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from phonefarm_common import config
from phonefarm_common.address_policy import Network, network
from phonefarm_common.certificates import Member, MemberBrokenError, read_member
from phonefarm_common.channel import is_loopback
from phonefarm_common.config import ConfigError
from phonefarm_common.endpoints import parse_controllers
from phonefarm_common.ids import is_name

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.assets.store import ASSET_BYTES, CACHE_BYTES, AssetLimits
from phonefarm_agent.judge.judge import JudgeSettings
from phonefarm_agent.model.screen import ScreensPolicy
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.runtimes import image

MIB = 1024 * 1024
WARM = 2
MOST_WARM = 64
RESERVE_BYTES = 32 * MIB
"""The space that is reserved for the journal and evidence of running work when the disk is full."""


def add_run_options(run: argparse.ArgumentParser) -> None:
    """Add the options of `run` to the parser *run*."""
    run.add_argument(
        "--controller",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help=(
            "address of a controller; separate several by commas or repeat the option; a host "
            "that has joined the farm does not need this option, because the farm sends it the "
            "list (env PHONEFARM_AGENT_CONTROLLER)"
        ),
    )
    run.add_argument(
        "--state",
        **_from_environment("PHONEFARM_AGENT_STATE"),
        type=Path,
        metavar="DIR",
        help=(
            "directory for the journal, the adb key and evidence; it must survive a restart, and "
            "each agent needs its own"
        ),
    )
    run.add_argument(
        "--name",
        default=os.environ.get("PHONEFARM_AGENT_NAME", ""),
        metavar="AGENT_ID",
        help=(
            "this agent's name in the farm; a host that has joined the farm does not need this "
            "option, because the host's certificate contains the name"
        ),
    )
    run.add_argument(
        "--runtime",
        default="auto",
        choices=["auto", "docker", "process", "dummy"],
        help=(
            "the runtime that executes runs; `auto` chooses `docker` if a container engine "
            "answers and has the image; otherwise, it chooses `process` and warns that this "
            "runtime does not isolate runs (default: %(default)s)"
        ),
    )
    run.add_argument(
        "--image",
        default=image.default_name(),
        metavar="NAME",
        help=(
            "image of the run containers; `phonefarm-agent image build` builds it (default: "
            "%(default)s)"
        ),
    )
    run.add_argument(
        "--warm",
        type=int,
        default=WARM,
        metavar="N",
        help=(
            "keep at most N run containers ready, so that runs begin at once; the agent never "
            "keeps more containers than it has working phones; each container needs about 20 MiB "
            "of memory; 0 keeps no containers (default: %(default)s)"
        ),
    )
    run.add_argument(
        "--connect",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="address of a phone that speaks adb over the network; repeatable",
    )
    run.add_argument(
        "--adb-port",
        type=int,
        default=0,
        metavar="PORT",
        help=(
            "port of the agent's own adb server on localhost; 0 takes any free port; "
            "5037 is not allowed, because other tools use it (default: %(default)s)"
        ),
    )
    run.add_argument(
        "--dummy-phones",
        type=int,
        default=0,
        metavar="N",
        help=(
            "for the dummy runtime: do not use adb, and pretend to have N phones, named "
            "DUMMY0001, DUMMY0002 and so on"
        ),
    )
    run.add_argument(
        "--allow-asset-cidr",
        action="append",
        default=[],
        metavar="CIDR",
        help=(
            "also fetch videos and pictures from this private network, e.g. "
            "10.20.0.0/16; repeatable"
        ),
    )
    run.add_argument(
        "--asset-limit",
        type=int,
        default=ASSET_BYTES // MIB,
        metavar="MIB",
        help="size of the largest file that the agent fetches for a run (default: %(default)s)",
    )
    run.add_argument(
        "--asset-cache",
        type=int,
        default=CACHE_BYTES // MIB,
        metavar="MIB",
        help="disk space that all fetched files together may use (default: %(default)s)",
    )
    _add_judge_options(run)
    run.add_argument(
        "--screens",
        choices=[str(policy) for policy in ScreensPolicy],
        default=os.environ.get("PHONEFARM_SCREENS", str(ScreensPolicy.ALWAYS)),
        help=(
            "when people can see the screens of this host's phones: `off` (never), `idle` "
            "(while no run uses the phone) or `always` (env PHONEFARM_SCREENS; default: "
            "%(default)s)"
        ),
    )
    run.add_argument(
        "--metrics",
        metavar="HOST:PORT",
        help=(
            "serve /metrics for Prometheus at this loopback address; port 0 takes any free port "
            "(default: /metrics is not served)"
        ),
    )
    run.add_argument(
        "--metrics-for-all",
        action="store_true",
        help=(
            "allow a --metrics address that is not a loopback address; everybody who can reach "
            "this address can then read the metrics"
        ),
    )
    run.add_argument(
        "--stop-runs-on-exit",
        action="store_true",
        default=os.environ.get("PHONEFARM_STOP_RUNS_ON_EXIT", "") not in {"", "0"},
        help=(
            "when the agent stops, also stop its run containers (env PHONEFARM_STOP_RUNS_ON_EXIT=1)"
        ),
    )
    run.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help=(
            'write this file when the agent is ready: {"adb": "HOST:PORT", "pid": '
            'N, "runtime": .., "agent_id": ..}'
        ),
    )


def _add_judge_options(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--judge-url",
        default=os.environ.get("PHONEFARM_JUDGE_URL", ""),
        metavar="URL",
        help=(
            "base URL of an OpenAI-compatible server; for `fyp_warmup`, its model judges videos; "
            "e.g. http://127.0.0.1:8080/v1 (env PHONEFARM_JUDGE_URL). Set the server's key in "
            "PHONEFARM_JUDGE_KEY or PHONEFARM_JUDGE_KEY_FILE. Without this option, the agent "
            "compares the words of each video's text with the words of the request"
        ),
    )
    run.add_argument(
        "--judge-model",
        default=os.environ.get("PHONEFARM_JUDGE_MODEL", "default"),
        metavar="NAME",
        help=(
            "name of the model on the --judge-url server (env PHONEFARM_JUDGE_MODEL; default: "
            "%(default)s)"
        ),
    )
    run.add_argument(
        "--judge-per-hour",
        type=int,
        default=0,
        metavar="N",
        help="ask the model at most N times per hour; 0 means no limit (default: %(default)s)",
    )


def _from_environment(name: str) -> dict[str, Any]:
    """Return how an option takes its value from the environment, where it is set there."""
    value = os.environ.get(name)
    return {"default": value} if value else {"required": True}


class _RaisingParser(argparse.ArgumentParser):
    """A parser that raises ConfigError for a wrong option instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of leaving the program."""
        raise ConfigError(message)


def parse_settings(words: Sequence[str]) -> Settings:
    """Return the settings that `run WORDS` would have in this environment; ConfigError."""
    parser = _RaisingParser(prog="run", add_help=False)
    add_run_options(parser)
    given = shlex.split(os.environ.get("PHONEFARM_AGENT_OPTIONS", ""))
    return settings_from(parser.parse_args([*given, *words]))


def settings_from(parsed: argparse.Namespace) -> Settings:
    """Return the settings that the options of `run` and the environment give; ConfigError."""
    token = config.secret("PHONEFARM_AGENT_TOKEN") or ""
    member = None if token else read_membership(parsed.state)
    if not token and member is None:
        raise ConfigError(
            "this host has not joined a farm: run `phonefarm-agent join TOKEN` "
            "(`phonefarm agents invite` prints the token); if the controller runs on "
            "this host, set PHONEFARM_AGENT_TOKEN or PHONEFARM_AGENT_TOKEN_FILE "
            "instead"
        )
    named = parsed.controller or [os.environ.get("PHONEFARM_AGENT_CONTROLLER", "")]
    told = member is not None and not any(named)
    name = parsed.name or (member.member_id if member else "")
    if member is not None and name != member.member_id:
        raise ConfigError(
            f"--name is {name!r}, but the certificate is for {member.member_id!r}: omit --name"
        )
    if not is_name(name):
        raise ConfigError(
            f"--name must be 1 to 128 characters from A-Z a-z 0-9 . _ : -, not {name!r}"
        )
    if parsed.adb_port == 5037 or not 0 <= parsed.adb_port < 65536:
        raise ConfigError("--adb-port must be a port other than 5037, which other tools use")
    if parsed.dummy_phones < 0:
        raise ConfigError("--dummy-phones must be 0 or more")
    if not 0 <= parsed.warm <= MOST_WARM:
        raise ConfigError(f"--warm must be 0 to {MOST_WARM} containers, not {parsed.warm}")
    if not 0 < parsed.asset_limit <= parsed.asset_cache:
        raise ConfigError("--asset-limit must be above 0 and at most --asset-cache")
    for phone in parsed.connect:
        config.address(phone, name="--connect")
    return Settings(
        controllers=() if told else parse_controllers(named, name="--controller"),
        token=token,
        joined=member is not None,
        agent_id=name,
        state=parsed.state.absolute(),
        runtime=parsed.runtime,
        image=parsed.image,
        connect=tuple(dict.fromkeys(parsed.connect)),
        adb_port=parsed.adb_port,
        dummy_phones=parsed.dummy_phones,
        warm=parsed.warm,
        ready_file=parsed.ready_file,
        stop_runs_on_exit=parsed.stop_runs_on_exit,
        production=config.production(),
        time_scale=config.time_scale(),
        timers=config.timers(),
        metrics=_metrics(parsed),
        phone_limits=PhoneLimits().scaled(config.time_scale()),
        reserve=RESERVE_BYTES,
        judge=_judge(parsed),
        screens=_screens(parsed),
        asset_networks=tuple(_network(text) for text in parsed.allow_asset_cidr),
        asset_limits=AssetLimits(
            asset_bytes=parsed.asset_limit * MIB, cache_bytes=parsed.asset_cache * MIB
        ),
    )


def read_membership(state: Path) -> Member | None:
    """Return the membership kept in *state*, None when there is none; ConfigError."""
    try:
        return read_member(state.absolute())
    except (MemberBrokenError, OSError) as error:
        raise ConfigError(str(error)) from error


def _metrics(parsed: argparse.Namespace) -> tuple[str, int] | None:
    if parsed.metrics is None:
        return None
    host, port = config.address(parsed.metrics, name="--metrics")
    if not is_loopback(host) and not parsed.metrics_for_all:
        raise ConfigError(
            f"--metrics: {host} is not a loopback address, so other hosts could read the metrics: "
            "use 127.0.0.1, or give --metrics-for-all"
        )
    return host, port


def _judge(parsed: argparse.Namespace) -> JudgeSettings:
    if parsed.judge_url and not _is_http_url(parsed.judge_url):
        raise ConfigError(f"--judge-url must be an http(s) URL, not {parsed.judge_url!r}")
    if parsed.judge_per_hour < 0:
        raise ConfigError("--judge-per-hour must be 0 or more")
    return JudgeSettings(
        url=parsed.judge_url,
        model=parsed.judge_model,
        key=config.secret("PHONEFARM_JUDGE_KEY"),
        per_hour=parsed.judge_per_hour,
    )


def _screens(parsed: argparse.Namespace) -> ScreensPolicy:
    try:
        return ScreensPolicy(parsed.screens)
    except ValueError:  # from the environment: argparse checks no default
        raise ConfigError(
            f"PHONEFARM_SCREENS must be off, idle or always, not {parsed.screens!r}"
        ) from None


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.hostname)


def _network(text: str) -> Network:
    try:
        return network(text)
    except ValueError as error:
        raise ConfigError(f"--allow-asset-cidr: {error}") from error
