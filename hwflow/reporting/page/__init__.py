"""Parts of every report: the page, its blocks, colours, number formats and figures."""
