"""What companies have recorded, read into journeys and figures: exports of GA4."""
