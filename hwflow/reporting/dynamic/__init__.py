"""Reports of networks whose size and clock change at run time: levels, and traces."""
