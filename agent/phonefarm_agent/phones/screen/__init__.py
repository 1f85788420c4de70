"""The live screen of a phone."""
