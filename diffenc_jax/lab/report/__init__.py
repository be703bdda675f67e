"""One page of HTML about runs, with all contents of their workdirs, drawn and explained."""
