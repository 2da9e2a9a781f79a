"""Fuzzing: any bytes give a result or a LeadppError, never another exception, and never without end."""
