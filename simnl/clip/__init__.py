"""The frozen vision-language model and everything that is computed from it: features, text classifiers, the store."""
