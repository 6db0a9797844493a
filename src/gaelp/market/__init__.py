"""The simulated truth: people, auctions, rivals, sales and what of them an advertiser may see."""
