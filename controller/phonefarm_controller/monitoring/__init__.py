"""Metrics, watchdogs and the doctor's findings."""
