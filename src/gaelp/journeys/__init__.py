"""Who touched what, when: identities, touchpoints and journeys as arrays of integer codes."""
