"""What the commands share: the connection, files they read, and how they show things."""
