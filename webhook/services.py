"""Admission of a Service: holds its selector to the revision that the reconciler's pin names.

The selector map is atomic for server-side apply: a client that sends it resets it whole, and would be in
conflict with a manager that had added a key. Set here, the field stays the client's. Only the reconciler
adds, changes or removes a pin; a Service that no Rollout refers to is nobody's business but its owner's.
"""

from collections.abc import Mapping

import msgspec

from rollout import names, warnings
from rollout.gate import Metadata
from webhook import patch
from webhook.policy import Policy
from webhook.review import ALLOWED, Denial, Request, Verdict

GROUP, PLURAL = "", "services"
_NO_PIN: Mapping[str, str | None] = {names.PIN: None, names.PINNED_BY: None, names.RELEASE: None}


class Spec(msgspec.Struct):
    """The part of a Service's spec that decides something here."""

    selector: dict[str, str] | None = None


class Service(msgspec.Struct):
    """A Service as one side of a write."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Spec = msgspec.field(default_factory=Spec)


def pinned_by(request: Request[Service]) -> str | None:
    """Name the Rollout that pinned the Service, if the pin says so."""
    return _annotations(request.old_object).get(names.PINNED_BY)


def admit(request: Request[Service], policy: Policy, *, in_use: bool) -> Verdict:
    """Judge one request; ``in_use`` tells whether the Rollout that has or needs the pin exists."""
    old, new = request.old_object, request.object
    if request.operation not in {"CREATE", "UPDATE"} or new is None:
        return ALLOWED
    if request.sub_resource:
        return _status_written(request, old, new, policy)
    return _written(request, old, new, policy, in_use=in_use)


def _written(
    request: Request[Service], old: Service | None, new: Service, policy: Policy, *, in_use: bool
) -> Verdict:
    before, after = _annotations(old), _annotations(new)
    held, asked = before.get(names.PIN) or None, after.get(names.PIN) or None
    if new.metadata.deletion_timestamp or (held is None and asked is None):
        return ALLOWED
    if policy.is_reconciler(request.user_info):
        if held is None and not in_use:  # from a replica that has long lost its lease: nobody would widen it
            return ALLOWED
        return _verdict(new, {}, _selector(new.spec, held, asked), ())
    if held is None:
        return _verdict(new, _NO_PIN, _selector(new.spec, asked, None), (warnings.pin_forged(request.name),))
    if not in_use:  # nobody is left who would ever take the pin away, so whoever may edit the Service may
        return _verdict(new, {}, _selector(new.spec, held, None) if asked is None else {}, ())
    carried = {key: before.get(key) for key in _NO_PIN}
    selected = (new.spec.selector or {}).get(names.POD_TEMPLATE_HASH, held)
    replaced = any(after.get(key) not in {None, before.get(key)} for key in _NO_PIN)
    lost = asked != held or selected != held
    said = (warnings.pin_kept(request.name),) if replaced or lost else ()
    return _verdict(new, carried, _selector(new.spec, held, held), said)


def _status_written(request: Request[Service], old: Service | None, new: Service, policy: Policy) -> Verdict:
    """Keep the pin out of reach of /status, whose writers may change annotations but no selector."""
    before, after = _annotations(old), _annotations(new)
    changed = [key for key in _NO_PIN if before.get(key) != after.get(key)]
    if request.sub_resource != "status" or not changed or policy.is_reconciler(request.user_info):
        return ALLOWED
    text = warnings.pin_refused(request.name, request.namespace, changed)
    return Verdict(denial=Denial(403, "Forbidden", text), outcome="denied")


def _verdict(
    new: Service,
    annotations: Mapping[str, str | None],
    selector: Mapping[str, str | None],
    said: tuple[str, ...],
) -> Verdict:
    operations = patch.entries("/metadata/annotations", new.metadata.annotations, annotations)
    operations += patch.entries("/spec/selector", new.spec.selector, selector)
    return Verdict(patch=operations, warnings=said, outcome="pinned" if operations else "unchanged")


def _selector(spec: Spec, before: str | None, pin: str | None) -> dict[str, str | None]:
    """Hold the selector to the pin, or free it of the one that went.

    A Service without a selector selects nothing by itself and is left so; a hash not of our doing stays.
    """
    if not spec.selector or (pin is None and spec.selector.get(names.POD_TEMPLATE_HASH) != before):
        return {}
    return {names.POD_TEMPLATE_HASH: pin}


def _annotations(service: Service | None) -> dict[str, str]:
    return (service.metadata.annotations if service else None) or {}
