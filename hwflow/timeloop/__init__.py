"""The only place that knows Timeloop's and Accelergy's files: render input, run the tools, parse their output."""
