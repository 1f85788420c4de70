"""What `doctor` looks at, one part of the host in each module."""
