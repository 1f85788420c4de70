"""Where a run lives: docker, process or dummy."""
