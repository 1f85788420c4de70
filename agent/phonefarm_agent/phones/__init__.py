"""The phones of this host: adb server, tracking, probing, the per-run proxy."""
