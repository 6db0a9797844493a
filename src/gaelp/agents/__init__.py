"""The policies that decide: baselines first, learners beside them; none can see the market."""
