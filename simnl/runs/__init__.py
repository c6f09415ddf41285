"""Experiments: configs put together, runs carried out and recorded, records turned into tables."""
