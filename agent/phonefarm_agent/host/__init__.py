"""The agent as a service of its host: installed, supervised by systemd, examined, removed."""
