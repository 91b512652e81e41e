"""Show what a trained model has learned about positions, as figures, text and pictures."""
