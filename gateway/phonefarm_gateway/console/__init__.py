"""The web console: its files, its session cookie, and the origins that browsers use it from."""
