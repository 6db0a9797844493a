"""Discovery: what a property's own data says about its visitors, as `discovered_patterns.json`."""
