"""Data sets and folders of images, and the batches that are made of them."""
