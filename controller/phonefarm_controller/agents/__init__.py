"""The agents' sessions, the phones they report and the phones they offer."""
