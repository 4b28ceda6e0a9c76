"""Cover a frame with overlapping tiles and blend their results back."""
