"""Arms x seeds: trains what is missing, and says what the differences are worth. See __main__.py."""
