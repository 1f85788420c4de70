"""What the phone's shell can run, one module per kind of command."""
