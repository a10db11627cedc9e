"""All that depends on the files of Timeloop and Accelergy: rendering input, running the tools, parsing their output."""
