"""What is known only while this controller lives: agents' streams, their offers, hints."""
