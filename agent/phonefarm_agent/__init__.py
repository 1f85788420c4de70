"""The agent: a daemon on each phone host that claims work for its phones."""
