"""Processes from the request to the end: creation, status, cancellation, reruns, queries."""
