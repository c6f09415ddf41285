"""Formulas of evaluation, on numpy arrays: accuracy and its kin, calibration, detection of unknown classes, scores.

Nothing here knows runs, methods, files or torch. Each formula is one function. `published` has the definitions of other
repositories, which are needed to compare with their figures and for nothing else.
"""
