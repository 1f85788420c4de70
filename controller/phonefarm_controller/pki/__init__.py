"""The farm's certificate authority."""
