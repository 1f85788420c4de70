"""Callbacks: lease due deliveries, send them, report the attempts."""
