"""Who touched what, when: a person's touchpoints in words, a population's journeys in figures."""
