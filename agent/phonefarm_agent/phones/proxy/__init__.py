"""The adb proxy of a run or a hold: what may pass to a phone, and for how long."""
