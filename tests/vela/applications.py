"""What an Application becomes: the objects of its components and their traits, as vela-core renders them.

Traits of the addon are rendered by their own CUE. Of vela's own, these: components `webservice` and
`k8s-objects`, and `helm`, whose workload somebody else makes; traits `scaler` and `gateway`.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.vela.definitions import Definition, definition

JsonObject = dict[str, Any]

_OURS = ("kruise-rollout", "rolling-release")
_UNTOLD = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "app.oam.dev/last-applied-configuration",
        "app.oam.dev/last-applied-time",
        "app.oam.dev/publishVersion",
    }
)
"""Annotations of an Application that its objects do not get."""
_CLUSTER_WIDE = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "Namespace",
        "ValidatingWebhookConfiguration",
    }
)


@dataclass(frozen=True)
class Trait:
    """What a trait of a component adds."""

    type: str
    parameter: JsonObject
    objects: dict[str, JsonObject]
    definition: Definition | None = None

    @property
    def early(self) -> bool:
        """Whether its objects come before the workload."""
        attributes = self.definition.attributes["attributes"] if self.definition else {}
        return bool(attributes.get("stage") == "PreDispatch")


@dataclass(frozen=True)
class Component:
    """A component: its workload, if it is vela that makes it, further objects, and its traits."""

    name: str
    type: str
    workload: JsonObject
    written: bool = True
    beside: Sequence[JsonObject] = ()
    traits: Sequence[Trait] = field(default=())

    def stages(self) -> "Iterator[Component]":
        """Give it in parts: traits of the early stage, if it has any, and then all the rest."""
        early = [each for each in self.traits if each.early]
        if early:
            yield replace(self, written=False, beside=(), traits=early)
        yield replace(self, traits=[each for each in self.traits if not each.early])

    def objects(self) -> Iterator[JsonObject]:
        """Give every object that vela writes."""
        if self.written:
            yield self.workload
        yield from self.beside
        for trait in self.traits:
            yield from trait.objects.values()


def render(application: JsonObject, number: int) -> tuple[Component, ...]:
    """Render the objects of an Application's revision."""
    return tuple(
        _Renderer(application, number, each).component() for each in application["spec"]["components"]
    )


@dataclass(frozen=True)
class _Renderer:
    application: JsonObject
    number: int
    written: JsonObject

    @property
    def name(self) -> str:
        found: str = self.written["name"]
        return found

    @property
    def properties(self) -> JsonObject:
        found: JsonObject = self.written.get("properties", {})
        return found

    def component(self) -> Component:
        kind, traits = self.written["type"], self.written.get("traits", ())
        objects = self._workload(kind)
        for each in traits:
            if each["type"] == "scaler":
                objects[0]["spec"]["replicas"] = each["properties"]["replicas"]
        made = [self._trait(each, objects[0]) for each in traits]
        for trait in made:
            _patch(objects[0], trait, self._context(objects[0]))
        workload = self._named(objects[0], "WORKLOAD", {"workload.oam.dev/type": kind})
        others = [self._named(each, "WORKLOAD", {"workload.oam.dev/type": kind}) for each in objects[1:]]
        return Component(self.name, kind, workload, kind != "helm", others, made)

    def _workload(self, kind: str) -> list[JsonObject]:
        match kind:
            case "webservice":
                return [self._webservice()]
            case "k8s-objects":
                return [json.loads(json.dumps(each)) for each in self.properties["objects"]]
            case "helm":
                metadata = {"name": self.name}
                api = "source.toolkit.fluxcd.io/v1beta2"
                return [{"apiVersion": api, "kind": "HelmRepository", "metadata": metadata}]
            case _:
                raise ValueError(f"no component {kind}")

    def _webservice(self) -> JsonObject:
        ports = [
            {"containerPort": each["port"], "name": f"port-{each['port']}", "protocol": "TCP"}
            for each in self.properties["ports"]
        ]
        container = {"name": self.name, "image": self.properties["image"], "ports": ports}
        container |= {"env": self.properties["env"]} if "env" in self.properties else {}
        labels = {
            "app.oam.dev/component": self.name,
            "app.oam.dev/name": self.application["metadata"]["name"],
        }
        marks = self.properties.get("annotations")
        template = {"metadata": {"labels": labels} | ({"annotations": marks} if marks else {})}
        spec = {
            "selector": {"matchLabels": {"app.oam.dev/component": self.name}},
            "template": {**template, "spec": {"containers": [container]}},
        }
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.name}, "spec": spec}

    def _trait(self, written: JsonObject, workload: JsonObject) -> Trait:
        kind, parameter = written["type"], written.get("properties", {})
        if kind in _OURS:
            found = definition(kind)
            outputs = found.render("outputs", parameter, self._context(workload))
            return Trait(kind, parameter, self._of_trait(kind, outputs), found)
        outputs = {"scaler": dict, "gateway": lambda: self._gateway(parameter)}[kind]()
        return Trait(kind, parameter, self._of_trait(kind, outputs))

    def _of_trait(self, kind: str, outputs: dict[str, JsonObject]) -> dict[str, JsonObject]:
        return {
            key: self._named(each, "TRAIT", {"trait.oam.dev/resource": key, "trait.oam.dev/type": kind})
            for key, each in outputs.items()
        }

    def _gateway(self, parameter: JsonObject) -> dict[str, JsonObject]:
        name = f"{self.name}-{parameter['name']}" if "name" in parameter else self.name
        ports = sorted(set(parameter["http"].values()))
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {
                "selector": {"app.oam.dev/component": self.name},
                "ports": [{"name": f"port-{each}", "port": each, "targetPort": each} for each in ports],
            },
        }
        paths = [
            {
                "path": path,
                "pathType": "ImplementationSpecific",
                "backend": {"service": {"name": name, "port": {"number": port}}},
            }
            for path, port in parameter["http"].items()
        ]
        ingress = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "annotations": {"kubernetes.io/ingress.class": "nginx"}},
            "spec": {"rules": [{"host": parameter["domain"], "http": {"paths": paths}}]},
        }
        return {"service": service, "ingress": ingress}

    def _context(self, workload: JsonObject) -> JsonObject:
        namespace = self.application["metadata"]["namespace"]
        components = self.application["spec"]["components"]
        return {"name": self.name, "namespace": namespace, "output": workload, "components": components}

    def _named(self, found: JsonObject, role: str, marks: dict[str, str]) -> JsonObject:
        """Add the labels and annotations by which vela knows its objects, and those of the Application."""
        application = self.application["metadata"]
        metadata = found["metadata"]
        told = {key: value for key, value in application.get("annotations", {}).items() if key not in _UNTOLD}
        labels = {
            **application.get("labels", {}),
            **metadata.get("labels", {}),
            "app.oam.dev/app-revision-hash": _hash(self.application["spec"]),
            "app.oam.dev/appRevision": f"{application['name']}-v{self.number}",
            "app.oam.dev/cluster": "",
            "app.oam.dev/component": self.name,
            "app.oam.dev/name": application["name"],
            "app.oam.dev/namespace": application["namespace"],
            "app.oam.dev/resourceType": role,
            "app.oam.dev/revision": "",
            **marks,
        }
        annotations = {**told, **metadata.get("annotations", {}), "oam.dev/kubevela-version": "UNKNOWN"}
        metadata = {**metadata, "labels": labels, "annotations": annotations}
        if found["kind"] not in _CLUSTER_WIDE:
            metadata.setdefault("namespace", application["namespace"])
        named = {**found, "metadata": metadata}
        labels["oam.dev/render-hash"] = _hash(named)
        return named


def _patch(workload: JsonObject, trait: Trait, context: JsonObject) -> None:
    """Apply what one of our traits patches: metadata alone."""
    if trait.definition and "\npatch:" in trait.definition.template.replace("\n\t", "\n"):
        patch = trait.definition.render("patch", trait.parameter, context)
        for part, values in patch["metadata"].items():
            workload["metadata"].setdefault(part, {}).update(values)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
