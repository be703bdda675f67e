"""One page of HTML about runs: everything that their workdirs hold, collected, drawn and explained."""
