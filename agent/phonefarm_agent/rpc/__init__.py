"""The conversation with the controller."""
