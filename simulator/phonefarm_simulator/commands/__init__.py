"""The commands of the phone's shell, one module for each kind."""
