"""The adb server and the client that speaks to it."""
