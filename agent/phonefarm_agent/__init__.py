"""The agent: the daemon on each phone host, which runs assigned work on its phones."""
