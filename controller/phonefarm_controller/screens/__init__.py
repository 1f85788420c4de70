"""Screens: who may see one, and how its agent comes to the controller of the viewer."""
