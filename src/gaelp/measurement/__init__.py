"""What caused the sale and how sure we are: attribution, conversion lag, experiments, auction insight."""
