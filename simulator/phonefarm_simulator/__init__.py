"""Simulated phones that speak the real adb device protocol."""
