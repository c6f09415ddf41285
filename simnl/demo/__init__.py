"""A local page on which a person teaches classes with pictures, and sees why new pictures have their labels.

The page is in `page/`; docs/demo.md shows how to use it. What learns and answers is `FewShotClassifier` and `explain`.
"""
