"""Label images with a head file: find the images, predict, explain, and write the results."""
