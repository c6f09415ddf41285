"""The frozen vision-language model, and what is computed from it: text classifiers, views and features."""
