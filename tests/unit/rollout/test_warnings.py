"""The texts that admission shows, word for word: people search for them."""

from dataclasses import replace

import pytest

from rollout import names, warnings
from rollout.approval import Approval, Position
from rollout.gate import Close, Decision, Governor, Hold, Pass, Reason, Release, Standing, Stranded
from rollout.problems import Problem

WAITING = Position("k4x9d", 2, 3, "StepPaused")
WEB = Governor("web", "shop", "uid", Standing.ACTIVE, "1", WAITING)
APPROVE = "to approve step 2: kubectl annotate rollout web -n shop sluice.dev/approve=k4x9d/2 --overwrite"
ROLL_BACK = (
    "to roll back: apply the previous pod template again, or kubectl-kruise rollout undo rollout/web -n shop"
)


def test_closing() -> None:
    """A release starts: step 1 is the first to approve, whatever the release before was at."""
    assert warnings.deployment(Close(WEB, "bcdfg"), "web", altered=False) == [
        "held by Rollout web: this change starts release bcdfg and is not rolled out yet",
        "to approve step 1: kubectl annotate rollout web -n shop sluice.dev/approve=bcdfg/1 --overwrite",
        ROLL_BACK,
    ]


def test_holding() -> None:
    """An update that would have opened the gate."""
    assert warnings.deployment(Hold(WEB, "{}", "k4x9d", starts=False), "web", altered=True) == [
        (
            "held by Rollout web: this change would have let out release k4x9d, "
            "so spec.paused and the gate's annotations were kept"
        ),
        APPROVE,
        ROLL_BACK,
    ]


def test_holding_without_a_release_name() -> None:
    """A gate closed by something older than us: there is nothing to approve by name."""
    assert warnings.deployment(Hold(WEB, "{}", None, starts=False), "web", altered=True) == [
        (
            "held by Rollout web: this change would have let out a release, "
            "so spec.paused and the gate's annotations were kept"
        ),
        ROLL_BACK,
    ]


def test_new_id_of_a_release_without_a_new_template() -> None:
    """Nobody is asked to approve what brings nothing."""
    assert warnings.deployment(Close(WEB, "k4x9d", empty=True), "web", altered=False) == [
        (
            "Rollout web notes the new rollouts.kruise.io/rollout-id; the template is the one that it had, "
            "so there is nothing to roll out and nothing to approve"
        )
    ]


def test_replacing() -> None:
    """A third template, or the stable one again."""
    assert warnings.deployment(Hold(WEB, "{}", "bcdfg", starts=True), "web", altered=False)[0] == (
        "held by Rollout web: this change replaces the release in progress by bcdfg, "
        "or rolls it back if the template is the stable one"
    )


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (Reason.DISABLED, "the Rollout is disabled"),
        (Reason.DELETING, "the Rollout is being deleted"),
        (Reason.NO_REPLICAS, "spec.replicas is 0, so nothing serves that could be protected"),
        (
            Reason.RECREATES,
            "spec.strategy.type is Recreate, which allows no two revisions at once (use RollingUpdate)",
        ),
    ],
)
def test_not_gating(reason: Reason, why: str) -> None:
    """Every release that passes un-gated says why."""
    assert warnings.deployment(Release(WEB, reason), "web", altered=False) == [
        f"not gated by Rollout web, rolled out at once: {why}"
    ]


def test_stranded() -> None:
    """Nobody is left to open the gate: its owner is told how."""
    assert warnings.deployment(Stranded(), "web", altered=False) == [
        (
            "Deployment web is paused for a Rollout that no longer exists, nothing holds it: "
            "resume it with kubectl rollout resume deployment/web"
        )
    ]


INERT = replace(WEB, standing=Standing.INERT, inert="style blueGreen is not supported yet: do this")


def test_rollout_that_does_nothing_is_named_with_why() -> None:
    """Its user thinks that the release is gated."""
    assert warnings.deployment(Release(INERT, Reason.INERT), "web", altered=False) == [
        (
            "not gated by Rollout web, rolled out at once: "
            "nothing is released by the Rollout until it is corrected"
        ),
        "Rollout web: style blueGreen is not supported yet: do this",
    ]
    assert warnings.deployment(Stranded(INERT), "web", altered=False) == [
        "Deployment web is paused for Rollout web, by which nothing is released",
        "Rollout web: style blueGreen is not supported yet: do this",
        "correct the Rollout, or resume with kubectl rollout resume deployment/web",
    ]


def test_silence() -> None:
    """What changes nothing of ours is not talked about."""
    assert warnings.deployment(Pass(WEB), "web", altered=False) == []
    assert warnings.deployment(Hold(WEB, "{}", "k4x9d", starts=False), "web", altered=False) == []


def test_malformed_approval() -> None:
    """The right one is in the message, or that there is none."""
    assert warnings.approval_malformed("true", "web", "shop", WAITING) == (
        'metadata.annotations[sluice.dev/approve]: Invalid value: "true": must be <release>/<step>; '
        "to approve step 2 of 3: kubectl annotate rollout web -n shop sluice.dev/approve=k4x9d/2 --overwrite"
    )
    assert warnings.approval_malformed("tr\nue" * 40, "web", "shop", None) == (
        'metadata.annotations[sluice.dev/approve]: Invalid value: "tr ue'
        + "tr ue" * 11
        + 'tr u…": must be <release>/<step>; no release is in progress, so there is nothing to approve'
    )


def test_idle_approval() -> None:
    """Well-formed, but not what waits."""
    assert warnings.approval_idle("aaaaa/1", "web", "shop", None) == (
        "sluice.dev/approve=aaaaa/1 approves nothing now; "
        "no release is in progress, so there is nothing to approve"
    )


def test_refused_approver_and_forged_stamp() -> None:
    """Who may, and what to do instead."""
    assert warnings.approver_refused("jane", ("leads", "sre")) == (
        'user "jane" may not approve: approvals are limited to members of leads, sre'
    )
    assert warnings.stamp_forged() == (
        "metadata.annotations[sluice.dev/approved-by]: Forbidden: is written by admission only; "
        "leave it out and set sluice.dev/approve"
    )


def test_forged_gate_and_kept_strategy() -> None:
    """What was left out or put off, and what to do."""
    assert warnings.forged_gate(["rollouts.kruise.io/in-progressing", "sluice.dev/strategy"]) == (
        "rollouts.kruise.io/in-progressing, sluice.dev/strategy: written by admission alone, and left out; "
        "if the manifest was exported during a release, remove them and spec.paused from it"
    )
    assert warnings.strategy_kept() == (
        "spec.strategy was kept: Recreate would end every pod at once during a release; change it afterwards"
    )
    limits = {"maxSurge": "60%", "maxUnavailable": 1}
    held, hint = warnings.strategy_waits({"type": "RollingUpdate", "rollingUpdate": limits})
    assert held == (
        "spec.strategy is held for a release that goes on inside the Deployment, then "
        '{"type":"RollingUpdate","rollingUpdate":{"maxSurge":"60%","maxUnavailable":1}}'
    )
    assert hint == "a limit that was written just as it is held at present keeps its earlier value"
    assert warnings.strategy_invalid({"type": "Foo"}) == (
        'spec.strategy: Invalid value: {"type":"Foo"}: must be of type Recreate, or RollingUpdate with '
        "maxSurge and maxUnavailable as numbers or percentages that are not both 0"
    )


def test_pins() -> None:
    """Services: kept, or left out."""
    assert warnings.pin_kept("web") == (
        "Service web stays pinned to one revision while a release is in progress: "
        "annotation sluice.dev/pin and spec.selector[pod-template-hash] were kept"
    )
    assert warnings.pin_forged("web") == (
        "annotation sluice.dev/pin was not taken over on Service web, only the reconciler writes it: "
        "remove it and spec.selector[pod-template-hash] from the manifest"
    )


def test_route_marks() -> None:
    """HTTPRoutes: kept, or left out."""
    assert warnings.route_marks_kept("web") == (
        "HTTPRoute web is routed by a release in progress: its annotations sluice.dev/routed-by, "
        "sluice.dev/routing and sluice.dev/original were kept"
    )
    assert warnings.route_marks_forged("web") == (
        "annotations sluice.dev/routed-by, sluice.dev/routing and sluice.dev/original on HTTPRoute web are "
        "the reconciler's alone: left out; remove them from the manifest, check its rules"
    )


def test_unreadable() -> None:
    """Denied because nobody can say whether it has to be gated."""
    assert warnings.unreadable("shop", "no answer") == (
        "cannot tell whether a Rollout in namespace shop governs this Deployment, "
        "so the change is not let through: no answer; try again"
    )


def test_problems_stand_together() -> None:
    """All problems of a Rollout in one denial."""
    found = (Problem("Spec.A", 1, "wrong"), Problem("Spec.B", 2, "wrong too"))

    assert warnings.problems(found) == "Spec.A: Invalid value: 1: wrong; Spec.B: Invalid value: 2: wrong too"


def test_every_line_fits_what_an_api_server_passes_on() -> None:
    """Longer than 256 characters, a warning may be cut: with names of 63 characters each fits."""
    name = "n" * 63
    governor = Governor(name, name, "uid", Standing.ACTIVE, "1", None, inert="w" * 500)
    decisions: list[Decision] = [
        Close(governor, "bcdfg"),
        Hold(governor, "{}", "bcdfg", starts=True),
        Hold(governor, "{}", "bcdfg", starts=False),
        *(Release(governor, reason) for reason in Reason),
        Stranded(),
        Stranded(governor),
    ]
    lines = [line for each in decisions for line in warnings.deployment(each, name, altered=True)]
    lines += [
        warnings.forged_gate([names.IN_PROGRESSING, names.RELEASE, names.STRATEGY]),
        warnings.strategy_kept(),
        *warnings.strategy_waits({"type": "x" * 9999}),
        warnings.planted(
            [names.IN_PROGRESSING, names.RELEASE, names.STRATEGY, names.APPROVED_BY, "spec.paused"]
        ),
        warnings.pin_kept(name),
        warnings.pin_forged(name),
        warnings.route_marks_kept(name),
        warnings.route_marks_forged(name),
    ]

    assert max(len(line) for line in lines) <= 256


def test_approve_command() -> None:
    """One line to paste."""
    command = warnings.approve_command("web", "shop", Approval("k4x9d", 2))

    assert command == "kubectl annotate rollout web -n shop sluice.dev/approve=k4x9d/2 --overwrite"
