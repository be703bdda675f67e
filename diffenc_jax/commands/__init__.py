"""One module per command: arguments in, calls of the packages below, an exit code out."""
