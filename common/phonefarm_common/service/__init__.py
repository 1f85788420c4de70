"""Installs a program of the farm as a service of systemd, and removes it; for every program."""

from typing import Final

VERBS: Final = ("install", "uninstall")
