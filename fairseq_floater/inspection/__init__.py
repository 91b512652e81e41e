"""What a trained model has learned of positions, as figures, text and pictures."""
