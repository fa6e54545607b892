"""How fast this machine does the work of a study, against the rate of its own matrix product."""
