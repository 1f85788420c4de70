"""Builds the agent, runs it and reports its status."""
