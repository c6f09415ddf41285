"""A local page on which a person teaches classes with pictures, and sees why new pictures have their labels.

The page is in `page/`, and docs/demo.md shows how to use it. `FewShotClassifier` learns, and `explain` gives reasons.
"""
