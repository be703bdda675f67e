"""The published code's parameters and arrays, in our terms."""
