"""Runs: from assignment to release."""
