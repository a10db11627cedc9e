"""hwflow's mapping search against other mappers than Timeloop's: ZigZag and AccelForge, on one chip, with one judge."""
