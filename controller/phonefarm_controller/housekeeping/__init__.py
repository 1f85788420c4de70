"""Upkeep in the background: retention, consistency, backups, disk space, stuck transactions."""
