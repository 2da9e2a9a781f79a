"""Descriptions of classes and the prototypes made of them."""
