"""Classification of images by the bound of a model that is conditioned on labels."""
