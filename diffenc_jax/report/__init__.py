"""A page of HTML about runs: what is in their workdirs, collected, drawn and said. See __main__.py."""
