"""SimNL: few-shot adaptation of vision-language models.

This is the library on which methods (`trainers/`) and data sets (`datasets/`) stand. docs/architecture.md explains its
parts and which of them may import which.
"""
