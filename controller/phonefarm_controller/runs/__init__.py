"""One attempt at an item on a phone: its assignment, start gate, reports, lease and end."""
