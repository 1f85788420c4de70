"""Installs a program of the farm as a service of systemd, and removes it; for every program."""
