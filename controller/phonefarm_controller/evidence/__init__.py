"""The files that runs leave: taken in, kept and handed out."""
