"""What runs by itself: the claim pump, the reaper, the clockwork, the auditor."""
