"""Several compression methods on the same work: one network, data set, accelerator and number of epochs."""
