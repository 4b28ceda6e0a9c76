"""From mask to repaired samples: regions, fills, grain."""
