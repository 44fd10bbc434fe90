"""Refusals of a site: their messages go to the server, and name only the site and the kind of refusal."""

from app.settings.checks import SettingsError


class PolicyError(SettingsError):
    """A run or a round that the site's policy refuses, or a policy that cannot be used."""


class IdentityError(SettingsError):
    """A site that cannot prove its name, or a run of another authority."""
