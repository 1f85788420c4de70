"""What the controller and the simulator can be asked: one client per service."""
