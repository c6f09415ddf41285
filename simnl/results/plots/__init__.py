"""Figures from run records and run folders."""
