"""The frozen vision-language model, and what it is used for: prompts, text classifiers, views and features."""
