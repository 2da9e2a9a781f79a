"""Loops over data: training, feature extraction, probe, neighbours, clusters."""
