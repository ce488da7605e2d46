"""Wrappers that give detectors and segmenters the graph contract."""
