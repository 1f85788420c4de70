"""Decides which item runs next on which phone, and explains why an item waits."""
