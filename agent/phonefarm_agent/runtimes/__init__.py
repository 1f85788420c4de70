"""The runtimes of runs: docker, process and dummy."""
