"""Benchmarks: each compares this program with the direct evaluation of the same formula, in one run."""
