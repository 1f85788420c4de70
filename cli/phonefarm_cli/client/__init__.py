"""Clients of the farm's controllers and of its simulator."""
