"""Modules that hold state: encoders, queue, teacher, localizer."""
