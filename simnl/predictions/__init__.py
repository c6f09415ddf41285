"""Labels for images by a head file: which images, their labels, why, and where all this is written."""
