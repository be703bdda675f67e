"""Images drawn from a trained model, and pictures of them, of the path to them, and of images drawn anew."""
