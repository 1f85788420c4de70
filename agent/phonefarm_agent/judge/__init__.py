"""Judges whether a video is what a caller wishes to see: by a model, or by words."""
