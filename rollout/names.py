"""Every name that we write into a cluster, and nothing about when it is written.

The ``rollouts.kruise.io`` names are the compatibility surface shared with existing
manifests and tools; the ``sluice.dev`` names are ours alone.
"""

GROUP = "rollouts.kruise.io"
STORAGE_VERSION = "v1beta1"

# --- on Rollouts ---------------------------------------------------------------------------------
ROLLOUT_FINALIZER = "rollouts.kruise.io/rollout"
ROLLING_STYLE = "rollouts.kruise.io/rolling-style"
TRAFFIC_ROUTING = "rollouts.kruise.io/trafficrouting"
"""Names a TrafficRouting; on TrafficRoutings the same text is our finalizer."""
ENGAGED = "sluice.dev/engaged"
"""JSON ``{"name", "spec"}``: the TrafficRouting of the present release, as it was when that began."""
APPROVE = "sluice.dev/approve"
"""``<release>/<step>``: approves that step of that release. Also accepted on the Deployment."""
APPROVED_BY = "sluice.dev/approved-by"
"""JSON ``{"approval", "user", "at"}``, stamped by the webhook from the request's user."""
VERIFY = "sluice.dev/verify"
"""Asks for routes whose data plane itself says when they are in force; ``BY_GATEWAY`` is the one way."""
BY_GATEWAY = "gateway-status"
CONVERSION_STASH = "sluice.dev/unconverted"
"""What the served version cannot say (see rollout.conversion)."""

# --- on Deployments ------------------------------------------------------------------------------
WORKLOAD_TYPE = "rollouts.kruise.io/workload-type"
"""Label with value ``deployment`` on governed Deployments: the strict webhook selects on it."""
IN_PROGRESSING = "rollouts.kruise.io/in-progressing"
"""JSON ``{"rolloutName": "<name>"}``; together with ``spec.paused`` it is the gate."""
RELEASE = "sluice.dev/release"
"""The release id (5 characters), written in the same request that closes the gate.

Also on canary Deployments, canary Ingresses and pinned Services: the release that they serve.
"""
STRATEGY = "sluice.dev/strategy"
"""JSON: its owner's strategy, and the narrower one of a release inside it (``rollout.strategy``)."""
ROLLOUT_ID = "rollouts.kruise.io/rollout-id"
"""The user's own id of a release; read as label or annotation. Written on the canary's pods as label."""
ROLLOUT_BATCH_ID = "rollouts.kruise.io/rollout-batch-id"
"""Label on canary pods, beside ``ROLLOUT_ID``: the step that brought the pod, counted from 1."""
CANARY_DEPLOYMENT = "rollouts.kruise.io/canary-deployment"
"""Label on the canary Deployment: the stable Deployment's name."""

MADE_BY = "sluice.dev/made-by"
"""Label on everything that we create: the uid of the Rollout, also when its owner reference is taken away.

A label, as a Deployment's annotations go on to its ReplicaSets, and back by ``kubectl rollout undo``.
"""

# --- on TrafficRoutings --------------------------------------------------------------------------
TRAFFIC_ROUTING_FINALIZER = TRAFFIC_ROUTING
"""On a TrafficRouting, while any release goes through it."""
USED_BY = "progressing.rollouts.kruise.io/"
"""Finalizer, before the name of the Rollout whose release goes through the object."""

# --- on Services and routes ----------------------------------------------------------------------
PIN = "sluice.dev/pin"
"""On the stable Service: the pod-template-hash its selector is held to during a release."""
PINNED_BY = "sluice.dev/pinned-by"
"""On the stable Service: the Rollout that pinned it."""
ROUTED_BY = "sluice.dev/routed-by"
"""On a user's own route: the Rollout that changes it for the time of a release, and gives it back after."""
ORIGINAL_SPEC = "rollouts.kruise.io/original-spec-configuration"
"""On a user's own route: JSON ``{"spec", "labels", "annotations"}``, as it was before we first changed it."""
ORIGINAL = "sluice.dev/original"
"""On a user's own HTTPRoute: JSON of its rules, as their owner wants them and gets them back."""
ROUTING = "sluice.dev/routing"
"""On a user's own route: JSON of the routing in force, and of what tells our writing from others'."""
ASKED = "sluice.dev/asked"
"""On a user's own route: JSON of the change that the webhook is to make in the write that brings it."""
CHANGED_AT = "sluice.dev/changed-at"
"""On a route or Service: when we last changed where it sends traffic (RFC 3339, UTC)."""

COPIED = "sluice.dev/copied"
"""On a canary Ingress: JSON of the labels and annotations that it has through us, by name."""
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
"""On ReplicaSets, by the Deployment controller: the Deployment's replicas when it last scaled the set."""
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
"""Likewise: replicas and maxSurge together; proportional scaling is reckoned from it."""

POD_TEMPLATE_HASH = "pod-template-hash"
CANARY_SUFFIX = "-canary"

KUBERNETES_SERVICE_NAME = "kubernetes.io/service-name"
"""Label on EndpointSlices: the Service they belong to."""

# --- beside our own installation ----
CONFIGURATION = "kruise-rollout-configuration"
"""ConfigMap in our own namespace: users' Lua scripts."""
ROUTE_SCRIPT = "lua.traffic.routing."
"""Key in it, before ``<Kind>.<group>``: the script for objects of a kind."""
INGRESS_SCRIPT = "lua.traffic.routing.ingress."
"""Key in it, before the class: the script for canary Ingresses of a class."""

# --- on our own installation ---------------------------------------------------------------------
LEAVING_FINALIZER = "sluice.dev/leaving"
"""Keeps what the reconciler needs alive until nothing of ours is left (docs/decisions/008)."""
LEAVE = "sluice.dev/leave"
"""On the Deployment ``sluice-reconciler``: ``requested`` asks it to leave, ``done`` says that it has."""
