"""The decision: every state of the bundle has its one next step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from certs.bundle import Bundle, KeyPair, fingerprint
from certs.issue import AUTHORITY_LIFE, BACKDATED, SERVING_LIFE, names_of, new_authority, new_serving
from certs.rotation import (
    LAST_MOMENT,
    OVERLAP,
    Decision,
    DropAuthorities,
    IssueAll,
    IssueAuthority,
    IssueServing,
    Keep,
    carry_out,
    decide,
    may_load,
    renewal,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = frozenset({"sluice-webhook.kruise-rollout.svc"})
DAY = timedelta(days=1)
OLD = new_authority(NOW)
FRESH = Bundle((OLD.certificate,), OLD, new_serving(OLD, NAMES, NOW))
NEW = new_authority(NOW + 250 * DAY)
BOTH = Bundle((NEW.certificate, OLD.certificate), NEW, new_serving(OLD, NAMES, NOW + 200 * DAY))


def decision(bundle: Bundle, after: timedelta = timedelta(), *trusted: KeyPair) -> Decision:
    """Decide this long after the first day."""
    return decide(bundle, NOW + after, NAMES, frozenset(fingerprint(each.certificate) for each in trusted))


def test_empty_secret_gets_everything() -> None:
    """The first replica of a new installation issues authority and serving certificate."""
    assert isinstance(decision(Bundle()), IssueAll)


def test_sound_bundle_is_kept_until_two_thirds_of_the_serving_life() -> None:
    """Nothing is written before something is due."""
    due = renewal(FRESH.serving.certificate) if FRESH.serving else None

    assert decision(FRESH) == Keep(NOW - BACKDATED + (SERVING_LIFE + BACKDATED) * 2 / 3)
    assert decision(FRESH) == Keep(due or NOW)


@pytest.mark.parametrize(
    ("bundle", "after", "expected"),
    [
        (replace(FRESH, serving=None), timedelta(), IssueServing),
        (FRESH, 61 * DAY, IssueServing),
        (FRESH, 91 * DAY, IssueServing),
        (FRESH, 400 * DAY, IssueAll),
        (FRESH, -2 * BACKDATED, IssueAll),
        (replace(FRESH, serving=new_serving(OLD, frozenset({"other"}), NOW)), timedelta(), IssueServing),
        (replace(FRESH, signer=None), timedelta(), IssueAuthority),
        (replace(FRESH, signer=None, serving=None), timedelta(), IssueAll),
        (replace(FRESH, serving=new_serving(OLD, NAMES, NOW + 240 * DAY)), 250 * DAY, IssueAuthority),
        # an authority that does not outlive what it would sign signs no more
        (replace(FRESH, serving=None), 300 * DAY, IssueAll),
    ],
    ids=[
        "serving missing",
        "serving due",
        "serving expired",
        "all expired",
        "not valid yet",
        "other names",
        "authority's key lost",
        "both keys lost",
        "authority due",
        "serving missing and authority old",
    ],
)
def test_what_is_due_is_the_least_that_mends_it(
    bundle: Bundle, after: timedelta, expected: type[Decision]
) -> None:
    """A step replaces what is not usable and leaves what is."""
    assert type(decision(bundle, after)) is expected


def test_new_authority_joins_before_it_signs() -> None:
    """The first step of a rotation leaves the serving certificate alone."""
    step = IssueAuthority("due")

    after = carry_out(step, FRESH, NOW + 250 * DAY, NAMES)

    assert after.serving == FRESH.serving
    assert after.authorities[1:] == FRESH.authorities
    assert after.signer is not None
    assert after.signer.certificate == after.authorities[0]


def test_new_authority_does_not_sign_before_every_consumer_trusts_it() -> None:
    """While somebody trusts only the old authority, the serving certificate stays of the old one."""
    assert isinstance(decision(BOTH, 251 * DAY, OLD), Keep)
    assert isinstance(decision(BOTH, 251 * DAY), Keep)
    assert isinstance(decision(BOTH, 251 * DAY, OLD, NEW), IssueServing)


def test_untrusting_consumer_is_waited_for_until_the_last_moment() -> None:
    """A consumer that takes no new authority does not bring down the others."""
    end = timedelta(days=200) + SERVING_LIFE

    assert decision(BOTH, 251 * DAY) == Keep(NOW + end - LAST_MOMENT)
    assert isinstance(decision(BOTH, end - LAST_MOMENT), IssueServing)


def test_old_authority_stays_until_every_replica_has_had_time_to_reload() -> None:
    """A replica that still serves under the old authority is still verified."""
    renewed = carry_out(IssueServing("trusted"), BOTH, NOW + 251 * DAY, NAMES)

    assert decision(renewed, 251 * DAY, NEW) == Keep(NOW + 251 * DAY + OVERLAP)
    assert isinstance(decision(renewed, 251 * DAY + OVERLAP, NEW), DropAuthorities)
    dropped = carry_out(DropAuthorities("over"), renewed, NOW + 252 * DAY, NAMES)
    assert dropped.authorities == (NEW.certificate,)
    assert dropped.serving == renewed.serving


def test_clock_that_disagrees_is_named() -> None:
    """Certificates from the future say what to look at."""
    found = decision(FRESH, -2 * BACKDATED)

    assert isinstance(found, IssueAll)
    assert "do the clocks of the replicas agree?" in found.why


def test_lost_secret_keeps_the_remembered_authority_trusted() -> None:
    """Replicas that serve under the lost authority stay verified until they have the new certificate."""
    after = carry_out(IssueAll("lost"), Bundle(), NOW, NAMES, (OLD.certificate,))

    assert after.authorities[1:] == (OLD.certificate,)
    assert after.issuer() == after.authorities[0]


def test_serving_authority_is_never_crowded_out() -> None:
    """However often an authority is lost, the one that signed what is served stays trusted."""
    bundle = FRESH
    for _ in range(10):
        bundle = carry_out(IssueAuthority("lost"), replace(bundle, signer=None), NOW, NAMES)

    assert OLD.certificate in bundle.authorities
    assert bundle.issuer() == OLD.certificate


def test_settings_that_differ_during_a_roll_out_do_not_fight() -> None:
    """A renewed certificate is good for replicas with the earlier names, too."""
    after = carry_out(IssueServing("names"), FRESH, NOW + DAY, frozenset({"new.example.com"}))

    assert after.serving is not None
    assert names_of(after.serving.certificate) == NAMES | {"new.example.com"}
    assert isinstance(decide(after, NOW + DAY, NAMES, frozenset()), Keep)
    assert isinstance(decide(after, NOW + DAY, frozenset({"new.example.com"}), frozenset()), Keep)


def test_earlier_names_end_with_the_renewal_for_age() -> None:
    """A name that nobody wants any more leaves with the next regular certificate."""
    after = carry_out(IssueServing("age"), FRESH, NOW + 61 * DAY, frozenset({"new.example.com"}))

    assert after.serving is not None
    assert names_of(after.serving.certificate) == {"new.example.com"}


@pytest.mark.parametrize(
    ("loaded", "after", "seen", "expected"),
    [
        (None, timedelta(), [OLD], True),
        ("old", timedelta(), [OLD], False),
        ("old", timedelta(), [OLD, NEW], True),
        ("old", timedelta(), [NEW], True),
        ("old", timedelta(), [], True),
        ("old", timedelta(), None, False),
        ("old", SERVING_LIFE, None, True),
        ("old", SERVING_LIFE, [OLD], True),
    ],
    ids=[
        "nothing loaded",
        "new untrusted",
        "both trusted",
        "old no longer trusted",
        "none trusted",
        "unknown",
        "expired, unknown",
        "expired",
    ],
)
def test_process_changes_only_to_a_certificate_that_is_no_worse(
    loaded: str | None,
    after: timedelta,
    seen: list[KeyPair] | None,
    expected: bool,  # noqa: FBT001 - a test's table
) -> None:
    """What consumers can verify is not left for what they cannot verify yet."""
    present = FRESH.serving.certificate if loaded and FRESH.serving else None
    candidate = new_serving(NEW, NAMES, NOW)
    known = None if seen is None else frozenset(fingerprint(each.certificate) for each in seen)

    authorities = (NEW.certificate, OLD.certificate)
    assert may_load(candidate.certificate, present, authorities, NOW + after, known) is expected


def test_certificates_carry_what_strict_verifiers_demand() -> None:
    """Usages, identifiers, constraints, lives and backdating are as intended."""
    serving = FRESH.serving.certificate if FRESH.serving else OLD.certificate

    assert OLD.certificate.not_valid_after_utc == NOW + AUTHORITY_LIFE
    assert serving.not_valid_before_utc == NOW - timedelta(hours=1)
    usages = serving.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [usage.dotted_string for usage in usages] == ["1.3.6.1.5.5.7.3.1"]
    assert not serving.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert OLD.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert OLD.certificate.subject != NEW.certificate.subject


def test_long_service_names_and_addresses_fit_into_a_certificate() -> None:
    """A name longer than a common name may be, and an IP address, are served."""
    names = frozenset({"s" * 63 + "." + "n" * 63 + ".svc", "10.1.2.3", "fd00::1"})

    assert names_of(new_serving(OLD, names, NOW).certificate) == names
