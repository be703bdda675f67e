"""Commands of the lab, one module each: arguments in, calls of the packages below, an exit code out."""
