"""The checks of `doctor`, one part of the host in each module."""
