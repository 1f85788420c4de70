"""Callbacks: lease what is due, send it, say how it went."""
