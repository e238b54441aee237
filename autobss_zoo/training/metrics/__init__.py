"""How good classifiers, detectors and segmenters are."""
