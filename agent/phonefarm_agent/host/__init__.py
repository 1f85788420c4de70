"""Installs the agent as a systemd service, reports its status, examines the host."""
