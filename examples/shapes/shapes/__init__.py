"""Networks whose shapes are compared."""
