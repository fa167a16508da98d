"""Traffic providers: how a wanted routing is written on the route objects that users have.

A provider is pure: it renders the canary's route from the stable one, and reads a routing
back from what it rendered. Nothing here knows about steps or releases.
"""
