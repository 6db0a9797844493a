"""The simulated truth: people, auctions, rivals and sales, and the file that describes a market."""
