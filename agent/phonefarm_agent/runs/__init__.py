"""Runs from their assignment to the last acknowledged record."""
