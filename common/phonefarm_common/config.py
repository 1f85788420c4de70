"""Reads settings from the environment; once, at the start."""

import os
from collections.abc import Mapping
from pathlib import Path

from phonefarm_common.timers import Timers


class ConfigError(Exception):
    """A setting is missing or wrong; the text names it and the remedy."""


def secret(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the secret from NAME or from the file NAME_FILE names; None when neither is set."""
    path = environment.get(f"{name}_FILE")
    return _read_secret(path, f"{name}_FILE") if path else environment.get(name) or None


def given_secret(
    file: str | None, *, option: str, name: str, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Return the secret from *file*, which *option* names; without one, `secret` of NAME."""
    return _read_secret(file, option) if file else secret(name, environment)


def _read_secret(path: str, setting: str) -> str | None:
    try:
        return Path(path).read_text().strip() or None
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "the file is not text"
        raise ConfigError(f"{setting}: cannot read {path}: {why}") from error


def production(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether PHONEFARM_PRODUCTION is set: no scaled timers, no runtime without isolation."""
    return environment.get("PHONEFARM_PRODUCTION", "") not in {"", "0"}


def time_scale(environment: Mapping[str, str] = os.environ) -> float:
    """Return PHONEFARM_TIME_SCALE (1 when unset); refused in production."""
    text = environment.get("PHONEFARM_TIME_SCALE", "1")
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0 < scale <= 1:
        raise ConfigError(f"PHONEFARM_TIME_SCALE must be above 0 and at most 1, not {text!r}")
    if scale != 1 and production(environment):
        raise ConfigError("PHONEFARM_TIME_SCALE is for tests: unset it in production")
    return scale


def timers(environment: Mapping[str, str] = os.environ) -> Timers:
    """Return the table of timers, scaled as the environment says."""
    return Timers().scaled(time_scale(environment))


def address(text: str, *, name: str) -> tuple[str, int]:
    """Split HOST:PORT; the port may be 0 for any. Raise ConfigError naming the option otherwise."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"{name} must be HOST:PORT, not {text!r}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ConfigError(f"{name}: write an IPv6 address in brackets, [::1]:{port}, not {text!r}")
    return host.strip("[]"), int(port)


def shown_address(host: str, port: int) -> str:
    """Return HOST:PORT, with an IPv6 address in brackets, which `address` splits again."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
