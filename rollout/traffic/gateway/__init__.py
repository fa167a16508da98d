"""HTTPRoutes of the Gateway API: a user's own rules, changed for a release and given back as they were."""
