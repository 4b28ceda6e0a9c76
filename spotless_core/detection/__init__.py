"""From grey image to mask: probability, thresholds, sizes."""
