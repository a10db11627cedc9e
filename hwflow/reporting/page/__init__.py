"""What every report is made of: the page, its blocks, colours, numbers and figures."""
