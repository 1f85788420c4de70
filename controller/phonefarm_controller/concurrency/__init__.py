"""Batches, threads, loops that survive errors, and wake-ups; no feature's own."""
