"""One round of looking after the certificates: look at everything, take the steps that are due, load.

    consumers -> Secret -> decide and write until nothing is due -> inject -> load -> when to look again

The order makes rounds safe at any time, in any number of replicas, stopped and resumed anywhere: consumers
are read *before* the Secret and patched only as they were read, so whoever replaces an injection has seen a
Secret at least as new as the one it came from.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509

from certs.bundle import MOST_AUTHORITIES, Bundle, Fingerprint, KeyPair, fingerprint
from certs.injection import Endpoint, inject, trusted_by_all
from certs.rotation import Keep, carry_out, decide, may_load
from certs.secret import Requests, SecretStore, Stored
from certs.tls import present, server_context
from kube.client import JsonPatch
from kube.errors import Conflict, KubeError, NotFound
from kube.resources import Ref
from runtime.clock import Clock
from runtime.logs import Log

# An API server hears of a changed configuration within milliseconds, each of several by its own watch. An
# injection counts as known to all of them after this long.
SETTLED_SECONDS = 60.0
# A healthy installation takes a step a month. Taking this many within so short a time, replicas undo each
# other's steps, and would do so as fast as the API server lets them.
_MOST_STEPS, _STEPS_SECONDS = 6, 600.0
_RACING = (
    "the certificates were issued again and again within minutes: "
    "do all replicas have the same settings, and do their clocks agree?"
)
# Somebody else was faster: what is there now is known after one more look.
_AGAIN_SECONDS = 0.25
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 30.0
# Clocks jump and machines sleep: nobody waits longer than this for a moment that was computed. Renewal has a
# month's reserve, so a day late does no harm.
_LONGEST_WAIT_SECONDS = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The objects an installed webhook consists of, and where it is reached."""

    secret: Ref
    configurations: tuple[Ref, ...]
    """Webhook configurations. They mark the installation: without any of them it is being removed."""
    definitions: tuple[Ref, ...]
    """Custom resource definitions whose versions the webhook converts."""
    endpoint: Endpoint
    owner: Mapping[str, Any] | None = None
    """Reference to what the Secret goes with; None outside a cluster."""


@dataclass(slots=True)
class _Round:
    """What one round has seen."""

    found: dict[Ref, Mapping[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    failed: bool = False
    outrun: bool = False
    until: datetime | None = None

    def fail(self, error: KubeError) -> None:
        """Take note of a request that failed; the round goes on with what it can do."""
        self.problems.append(str(error))
        self.failed = True


class Upkeep:
    """The certificates as this process knows them, and the rounds that keep them right."""

    def __init__(self, requests: Requests, installation: Installation, clock: Clock, log: Log) -> None:
        self._requests = requests
        self._installation = installation
        self._store = SecretStore(requests, installation.secret, installation.owner)
        self._clock = clock
        self._log = log
        self._names = installation.endpoint.names()
        self._remembered: tuple[x509.Certificate, ...] = ()
        self._trusted_since: dict[Fingerprint, float] = {}
        self._failures = 0
        self._steps_taken: deque[float] = deque(maxlen=_MOST_STEPS)
        self._problems: tuple[str, ...] = ("not looked yet",)
        self._in_place = False
        self.ssl_context = server_context()
        self.bundle = Bundle()
        self.loaded: KeyPair | None = None

    def ready(self) -> str | None:
        """Readiness check: a certificate is loaded, valid, and was injected everywhere at least once."""
        why = "; ".join(self._problems)
        if self.loaded is None:
            return f"no serving certificate is loaded: {why}"
        if self._clock.now() >= self.loaded.certificate.not_valid_after_utc:
            return f"the serving certificate has expired: {why}"
        # Once in place, ready: a consumer that is deleted or reset later is not helped by us being absent.
        return None if self._in_place else why

    async def once(self) -> float:
        """Do a round; return the seconds until the next is due, if nothing changes before."""
        this = _Round()
        try:
            await self._do(this)
        except KubeError as error:
            this.fail(error)
        self._report(tuple(this.problems))
        self._failures = self._failures + 1 if this.failed else 0
        return self._wait(this)

    async def _do(self, this: _Round) -> None:
        await self._look(this)
        stored = await self._store.read()
        if stored.resource_version and stored.bundle.problems:
            where = str(self._installation.secret)
            self._log.warning("The Secret is damaged", secret=where, problems=stored.bundle.problems)
        self._watch_trust(this, stored.bundle)
        if not await self._step(this, stored):
            return
        if self.loaded is None:
            self._load_present()
        await self._inject(this)
        if self._may_load(self._watch_trust(this, self.bundle)):
            self._load_present()
        self._in_place = self._in_place or not (this.problems or this.outrun)

    async def _look(self, this: _Round) -> None:
        """Read the consumers; definitions count only while there are configurations.

        Whoever removes the installation deletes the configurations first and then takes the conversion out
        of the definitions; we must not put it back. That is why the definitions are read first: when there
        still is a configuration after that, the conversion was not taken out before, and if it is now, our
        patch of what was read is refused.
        """
        for ref in (*self._installation.definitions, *self._installation.configurations):
            await self._look_at(ref, this)
        if this.found.keys().isdisjoint(self._installation.configurations):
            this.found.clear()

    async def _look_at(self, ref: Ref, this: _Round) -> None:
        try:
            consumer = await self._requests.get(ref)
        except NotFound:
            this.problems.append(f"{ref} does not exist: is the chart installed completely?")
        except KubeError as error:
            this.fail(error)
        else:
            if consumer["metadata"].get("deletionTimestamp"):
                this.problems.append(f"{ref} is being deleted")
            else:
                this.found[ref] = consumer

    def _watch_trust(self, this: _Round, bundle: Bundle) -> frozenset[Fingerprint] | None:
        """Return what every consumer trusts now, None when unknown; remember since when it does."""
        seen = trusted_by_all(this.found.values())
        if this.failed or this.outrun:
            seen = None
        elif seen is None:  # nobody consumes: nobody distrusts
            seen = frozenset(map(fingerprint, bundle.authorities))
        moment = self._clock.monotonic()
        self._trusted_since = {each: self._trusted_since.get(each, moment) for each in seen or ()}
        return seen

    async def _step(self, this: _Round, stored: Stored) -> bool:
        """Take what is due, each step over exactly what was read, until ``bundle`` is as it shall be."""
        while True:
            now = self._clock.now()
            self._remember(stored.bundle, now)
            decision = decide(stored.bundle, now, self._names, self._settled())
            if isinstance(decision, Keep):
                self.bundle, this.until = stored.bundle, decision.until
                return True
            if self._is_racing():
                this.problems.append(f"{_RACING}; the next step would be: {decision.why}")
                this.failed = True
                return False
            bundle = carry_out(decision, stored.bundle, now, self._names, self._remembered)
            written = await self._store.write(bundle, stored)
            if written is None:
                this.outrun = True
                return False
            self._steps_taken.append(self._clock.monotonic())
            self._log.info("A certificate step was taken", step=type(decision).__name__, why=decision.why)
            stored = written

    def _is_racing(self) -> bool:
        """Tell whether we write so often that somebody must be undoing it each time."""
        moment = self._clock.monotonic()
        return len(self._steps_taken) == _MOST_STEPS and moment - self._steps_taken[0] < _STEPS_SECONDS

    def _settled(self) -> frozenset[Fingerprint]:
        before = self._clock.monotonic() - SETTLED_SECONDS
        return frozenset(each for each, since in self._trusted_since.items() if since <= before)

    def _remember(self, bundle: Bundle, now: datetime) -> None:
        """Keep the authorities this process may serve under, should the Secret be lost."""
        known = dict.fromkeys((*bundle.authorities, *self._remembered))
        self._remembered = tuple(each for each in known if now < each.not_valid_after_utc)[:MOST_AUTHORITIES]

    def _may_load(self, seen: frozenset[Fingerprint] | None) -> bool:
        serving = self.bundle.serving
        if serving is None or self.loaded is None:
            return False
        now, loaded = self._clock.now(), self.loaded.certificate
        return may_load(serving.certificate, loaded, self._remembered, now, seen)

    def _load_present(self) -> None:
        serving = self.bundle.serving
        if serving is None or (self.loaded is not None and self.loaded.certificate == serving.certificate):
            return
        present(self.ssl_context, serving)
        self.loaded = serving
        self._log.info(
            "The serving certificate was loaded",
            expires=serving.certificate.not_valid_after_utc.isoformat(),
            serial=f"{serving.certificate.serial_number:x}",
        )

    async def _inject(self, this: _Round) -> None:
        for ref, consumer in tuple(this.found.items()):
            operations = inject(consumer, self.bundle.trust(), self._installation.endpoint)
            if operations is None:
                continue
            version = consumer["metadata"]["resourceVersion"]
            guard = {"op": "replace", "path": "/metadata/resourceVersion", "value": version}
            try:
                this.found[ref] = await self._requests.patch(ref, JsonPatch([guard, *operations]))
            except (Conflict, NotFound):
                this.outrun = True
            except KubeError as error:
                this.fail(error)
            else:
                self._log.info("The CA bundle was injected", consumer=str(ref))

    def _report(self, problems: tuple[str, ...]) -> None:
        """Log what is wrong when it changes, not each time it is met."""
        if problems and problems != self._problems:
            self._log.warning("The certificates are not in place everywhere", problems=problems)
        self._problems = problems

    def _wait(self, this: _Round) -> float:
        waits = [_LONGEST_WAIT_SECONDS]
        if this.outrun:
            waits.append(_AGAIN_SECONDS)
        if this.failed:
            doublings = min(self._failures - 1, 10)  # 2**10 is far above the cap
            waits.append(min(_FIRST_RETRY_SECONDS * 2**doublings, _LONGEST_RETRY_SECONDS))
        if this.until is not None:
            waits.append(max(0.0, (this.until - self._clock.now()).total_seconds()))
        moment = self._clock.monotonic()
        unsettled = [since for since in self._trusted_since.values() if since > moment - SETTLED_SECONDS]
        waits += [since + SETTLED_SECONDS - moment for since in unsettled]
        return min(waits)
