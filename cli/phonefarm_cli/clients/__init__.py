"""What the controller can be asked: one client per service of the wire."""
