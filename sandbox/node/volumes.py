"""A pod's volumes: directories that are filled from the API and kept up to date.

A service-account token is asked for through TokenRequest, as kubelet does, and
renewed at four fifths of its life.
"""

import base64
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.api import Api, ApiError
from sandbox.names import JsonObject
from sandbox.node.environment import pod_field
from sandbox.resources import path as resource_path

_RENEWAL = 0.8
_DEFAULT_TOKEN_LIFE = 3600

Files = dict[str, bytes]
"""Relative path to content."""


class VolumeError(RuntimeError):
    """A volume cannot be mounted (yet)."""


class Volumes:
    """All volumes of one pod."""

    def __init__(self, pod: JsonObject, api: Api, directory: Path) -> None:
        self._pod = pod
        self._api = api
        self._directory = directory
        self._tokens: dict[str, tuple[float, bytes]] = {}

    @property
    def _namespace(self) -> str:
        return str(self._pod["metadata"]["namespace"])

    async def fill(self, *, projected: bool = True) -> None:
        """Write every volume's present content; called again, it replaces what changed."""
        for volume in self._pod["spec"].get("volumes", ()):
            if "projected" in volume and not projected:
                continue
            files = await self._content(volume)
            if files is not None:
                _write(self._directory / volume["name"], files)

    def mounts(self, container: JsonObject) -> list[JsonObject]:
        """Return source, target and read_only of everything a container mounts."""
        sources = {volume["name"]: self._source(volume) for volume in self._pod["spec"].get("volumes", ())}
        return [
            {
                "source": str(sources[mount["name"]] / mount.get("subPath", "")),
                "target": mount["mountPath"],
                "read_only": bool(mount.get("readOnly")),
            }
            for mount in container.get("volumeMounts", ())
        ]

    def remove(self) -> None:
        """Remove the directories."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _source(self, volume: JsonObject) -> Path:
        if "hostPath" in volume:
            return Path(volume["hostPath"]["path"])
        return self._directory / str(volume["name"])

    async def _content(self, volume: JsonObject) -> Files | None:
        """Return the files of a volume the API fills, None for one that is not."""
        match volume:
            case {"emptyDir": _}:
                self._source(volume).mkdir(parents=True, exist_ok=True)
                return None
            case {"hostPath": _}:
                return None
            case {"secret": source}:
                return await self.data("secrets", {**source, "name": source["secretName"]})
            case {"configMap": source}:
                return await self.data("configmaps", source)
            case {"downwardAPI": source}:
                return self._fields(source)
            case {"projected": projected}:
                return await self._projected(volume["name"], projected["sources"])
            case _:
                kinds = [key for key in volume if key != "name"]
                raise VolumeError(f"volume {volume['name']}: the sandbox has no {kinds}")

    async def _projected(self, name: str, sources: Sequence[JsonObject]) -> Files:
        files: Files = {}
        for source in sources:
            match source:
                case {"serviceAccountToken": token}:
                    files[token["path"]] = await self._token(f"{name}/{token['path']}", token)
                case {"secret": secret}:
                    files |= await self.data("secrets", secret)
                case {"configMap": configuration}:
                    files |= await self.data("configmaps", configuration)
                case {"downwardAPI": fields}:
                    files |= self._fields(fields)
                case _:
                    raise VolumeError(f"volume {name}: the sandbox has no {list(source)}")
        return files

    async def data(self, resource: str, source: JsonObject) -> Files:
        """Return the files of a Secret or ConfigMap beside the pod, with `items` chosen and renamed."""
        try:
            found = await self._api.get(resource_path(resource, self._namespace, source["name"]))
        except ApiError as error:
            if source.get("optional"):
                return {}
            raise VolumeError(str(error)) from error
        data = _decoded(found, secret=resource == "secrets")
        if "items" not in source:
            return data
        chosen = {item["path"]: data.get(item["key"]) for item in source["items"]}
        missing = [path for path, content in chosen.items() if content is None]
        if missing and not source.get("optional"):
            raise VolumeError(f"{resource} {source['name']} lacks what {missing} is made of")
        return {path: content for path, content in chosen.items() if content is not None}

    def _fields(self, source: JsonObject) -> Files:
        return {
            item["path"]: pod_field(self._pod, item["fieldRef"]["fieldPath"]).encode()
            for item in source.get("items", ())
        }

    async def _token(self, key: str, source: JsonObject) -> bytes:
        renew_at, token = self._tokens.get(key, (0.0, b""))
        if time.monotonic() < renew_at:
            return token
        life = int(source.get("expirationSeconds", _DEFAULT_TOKEN_LIFE))
        account = self._pod["spec"].get("serviceAccountName", "default")
        metadata = self._pod["metadata"]
        reference = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        specification: JsonObject = {"expirationSeconds": life, "boundObjectRef": reference}
        if "audience" in source:
            specification["audiences"] = [source["audience"]]
        path = f"{resource_path('serviceaccounts', self._namespace, account)}/token"
        answer = await self._api.post(path, {"spec": specification})
        token = str(answer["status"]["token"]).encode()
        self._tokens[key] = (time.monotonic() + life * _RENEWAL, token)
        return token


def _decoded(found: JsonObject, *, secret: bool) -> Files:
    encoded: Mapping[str, str] = found.get("data") or {}
    if secret:
        return {key: base64.b64decode(value) for key, value in encoded.items()}
    binary: Mapping[str, str] = found.get("binaryData") or {}
    return {key: value.encode() for key, value in encoded.items()} | {
        key: base64.b64decode(value) for key, value in binary.items()
    }


def _write(directory: Path, files: Files) -> None:
    """Make a directory hold exactly these files, each replaced at once."""
    directory.mkdir(parents=True, exist_ok=True)
    for relative, content in files.items():
        path = directory / relative
        if path.exists() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(content)
        fresh.replace(path)
    for path in directory.rglob("*"):
        if path.is_file() and str(path.relative_to(directory)) not in files:
            path.unlink()
