"""What the commands share: how they connect, read files and print."""
