"""What has to be done about the certificates, decided from what is there and what time it is.

A new authority comes in steps, so that at no moment a consumer meets a certificate it cannot verify:

    1  the new authority joins the bundle           consumers get old + new injected, serving is signed by old
    2  every consumer trusts the new one            a new serving certificate, signed by the new authority
    3  every replica has had a day to load it       the old authority leaves the bundle

Renewal begins at two thirds of a certificate's life. Any replica may take any step; whether its write
wins, the Secret's resourceVersion decides. Pure but for the drawing of keys in ``carry_out``; knows
neither the Secret nor the consumers.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from cryptography import x509

from certs.bundle import MOST_AUTHORITIES, Bundle, Fingerprint, KeyPair, fingerprint, issuer_of
from certs.issue import BACKDATED, SERVING_LIFE, Names, names_of, new_authority, new_serving

# A replica reloads within seconds of a change of the Secret; one that has not within a day is not alive.
OVERLAP = timedelta(days=1)
# When a consumer will not take the new authority, the serving certificate of the old one is used to its end;
# a new one an hour before serves at least the consumers that did.
LAST_MOMENT = timedelta(hours=1)
# Names of earlier settings stay in a renewed certificate, so that replicas with old and with new settings do
# not renew it in turn while a Deployment rolls; more names than this are not ours.
MOST_NAMES = 16


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing to do before ``until``."""

    until: datetime


@dataclass(frozen=True, slots=True)
class IssueServing:
    """A new serving certificate, signed by the present signer."""

    why: str


@dataclass(frozen=True, slots=True)
class IssueAuthority:
    """A new signing authority beside the old ones; the serving certificate stays."""

    why: str


@dataclass(frozen=True, slots=True)
class IssueAll:
    """A new authority and a serving certificate signed by it: nothing there can be used."""

    why: str


@dataclass(frozen=True, slots=True)
class DropAuthorities:
    """Only the signing authority stays in the bundle."""

    why: str


Step = IssueServing | IssueAuthority | IssueAll | DropAuthorities
Decision = Keep | Step


def decide(bundle: Bundle, now: datetime, names: Names, trusted: frozenset[Fingerprint]) -> Decision:
    """Return the next step. ``trusted``: authorities that every consumer has been trusting for a while."""
    signer, serving, issuer = bundle.signer, bundle.serving, bundle.issuer()
    problem = _serving_problem(serving, issuer, now, names)
    if signer is None or not _can_sign(signer.certificate, now):
        why = _unusable("the certificate authority", signer, now)
        return IssueAll(f"{why}; {problem}") if problem else IssueAuthority(why)
    if serving is None or issuer is None or problem:
        return IssueServing(problem)
    if issuer != signer.certificate:
        return _succeed(serving.certificate, signer.certificate, now, trusted)
    if now >= renewal(serving.certificate):
        return IssueServing("two thirds of the serving certificate's life are over")
    if now >= renewal(signer.certificate):
        return IssueAuthority("two thirds of the certificate authority's life are over")
    return _drop_or_keep(bundle, serving.certificate, signer.certificate, now)


def carry_out(
    step: Step, bundle: Bundle, now: datetime, names: Names, remembered: tuple[x509.Certificate, ...] = ()
) -> Bundle:
    """Return the bundle after the step.

    ``remembered`` are authorities of an earlier bundle that this process may still serve under; when the
    Secret was lost they stay trusted until what replaces them is in use.
    """
    match step:
        case IssueServing():
            return _with_serving(bundle, now, names)
        case IssueAuthority():
            return _with_authority(bundle, now, remembered)
        case IssueAll():
            return _with_serving(_with_authority(replace(bundle, serving=None), now, remembered), now, names)
        case DropAuthorities():
            kept = () if bundle.signer is None else (bundle.signer.certificate,)
            return replace(bundle, authorities=kept)
        case _:
            assert_never(step)


def renewal(certificate: x509.Certificate) -> datetime:
    """Return when two thirds of a certificate's life are over."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin + (end - begin) * 2 / 3


def may_load(
    candidate: x509.Certificate,
    loaded: x509.Certificate | None,
    authorities: tuple[x509.Certificate, ...],
    now: datetime,
    seen: frozenset[Fingerprint] | None,
) -> bool:
    """Tell whether a process that serves under ``loaded`` shall serve under ``candidate`` from now on.

    ``seen``: those of the ``authorities`` that every consumer trusts now, None if unknown. A process
    does not leave a certificate that consumers can verify for one that they cannot verify yet.
    """
    if loaded is None or not _is_valid(loaded, now):
        return True
    if seen is None:
        return False
    return _is_trusted(candidate, authorities, seen) or not _is_trusted(loaded, authorities, seen)


def _succeed(
    serving: x509.Certificate, successor: x509.Certificate, now: datetime, trusted: frozenset[Fingerprint]
) -> Decision:
    """Decide while the serving certificate is still signed by an authority that is on its way out."""
    if fingerprint(successor) in trusted:
        return IssueServing("every consumer trusts the new certificate authority")
    last_moment = serving.not_valid_after_utc - LAST_MOMENT
    if now >= last_moment:
        return IssueServing(
            "the serving certificate ends, though not every consumer trusts the new authority"
        )
    return Keep(last_moment)


def _drop_or_keep(
    bundle: Bundle, serving: x509.Certificate, signer: x509.Certificate, now: datetime
) -> Decision:
    due = [renewal(serving), renewal(signer)]
    if len(bundle.authorities) > 1:
        in_use_everywhere = serving.not_valid_before_utc + BACKDATED + OVERLAP
        if now >= in_use_everywhere:
            return DropAuthorities("every replica serves under the new certificate authority")
        due.append(in_use_everywhere)
    return Keep(min(due))


def _serving_problem(
    serving: KeyPair | None, issuer: x509.Certificate | None, now: datetime, names: Names
) -> str:
    """Return why the serving certificate is of no use; empty when it is."""
    if serving is None or issuer is None:
        return "there is no usable serving certificate"
    if not _is_valid(serving.certificate, now) or not _is_valid(issuer, now):
        return _unusable("the serving certificate", serving, now)
    missing = names - names_of(serving.certificate)
    return f"the serving certificate is not for {', '.join(sorted(missing))}" if missing else ""


def _unusable(what: str, pair: KeyPair | None, now: datetime) -> str:
    if pair is None:
        return f"there is no usable {what.removeprefix('the ')}"
    if now < pair.certificate.not_valid_before_utc:
        begin = pair.certificate.not_valid_before_utc
        return f"{what} is valid only from {begin:%Y-%m-%dT%H:%M:%SZ}: do the clocks of the replicas agree?"
    return f"{what} has expired or is about to"


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _can_sign(authority: x509.Certificate, now: datetime) -> bool:
    return _is_valid(authority, now) and now + SERVING_LIFE <= authority.not_valid_after_utc


def _is_trusted(
    certificate: x509.Certificate, authorities: tuple[x509.Certificate, ...], seen: frozenset[Fingerprint]
) -> bool:
    issuer = issuer_of(certificate, authorities)
    return issuer is not None and fingerprint(issuer) in seen


def _with_authority(bundle: Bundle, now: datetime, remembered: tuple[x509.Certificate, ...]) -> Bundle:
    signer = new_authority(now)
    issuer = bundle.issuer()
    # the one that signed what is being served must not fall to the limit
    first = (signer.certificate,) if issuer is None else (signer.certificate, issuer)
    others = [each for each in (*bundle.authorities, *remembered) if _is_valid(each, now)]
    authorities = tuple(dict.fromkeys([*first, *others]))[:MOST_AUTHORITIES]
    return replace(bundle, authorities=authorities, signer=signer, problems=())


def _with_serving(bundle: Bundle, now: datetime, names: Names) -> Bundle:
    if bundle.signer is None:
        raise ValueError("a serving certificate needs a signer: decide() asks for an authority first")
    earlier = frozenset() if bundle.serving is None else _names_to_keep(bundle.serving, now)
    wanted = names | earlier if len(names | earlier) <= MOST_NAMES else names
    return replace(bundle, serving=new_serving(bundle.signer, wanted, now), problems=())


def _names_to_keep(serving: KeyPair, now: datetime) -> Names:
    """Return the present names unless it is renewed for its age: then only what is wanted now stays."""
    fresh = _is_valid(serving.certificate, now) and now < renewal(serving.certificate)
    return names_of(serving.certificate) if fresh else frozenset()
