"""More accuracy without training, and how far confidence can be trusted."""
