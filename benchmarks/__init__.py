"""Measurements that stand in the documentation, each with the command that makes it."""
