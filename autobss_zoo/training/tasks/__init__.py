"""Classification, detection and segmentation: a recipe and a task each."""
