"""Reports of contests between compression methods."""
