"""Which cookies, devices and logins are one person: by login first, then by evidence, always reversible."""

from gaelp.journeys.identity.comparing import COMPARISONS
from gaelp.journeys.identity.quality import Quality, judge_identities
from gaelp.journeys.identity.resolver import Link, Resolver, Settings
from gaelp.journeys.identity.scoring import LinkModel
from gaelp.journeys.identity.sessions import stitch_sessions
from gaelp.journeys.identity.table import IdentityTable, read_identity_table

__all__ = [
    "COMPARISONS",
    "IdentityTable",
    "Link",
    "LinkModel",
    "Quality",
    "Resolver",
    "Settings",
    "judge_identities",
    "read_identity_table",
    "stitch_sessions",
]
