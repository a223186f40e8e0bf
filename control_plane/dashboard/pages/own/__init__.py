"""Pages of a person's own account, whatever tenant they act in, and of the ways into it."""

from control_plane.dashboard.pages.own import identities, profile, provider, recovery, second_factor, sessions

HANDLERS = [
    *recovery.HANDLERS,
    *provider.HANDLERS,
    *profile.HANDLERS,
    *second_factor.HANDLERS,
    *sessions.HANDLERS,
    *identities.HANDLERS,
]
