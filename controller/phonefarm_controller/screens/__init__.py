"""Screens: who may watch one, and how its agent connects to the viewer's controller."""
