"""The Lua texts that come with the product: the sandbox, and what is built in for known kinds."""

from importlib import resources
from types import MappingProxyType


def _text(name: str) -> str:
    return resources.files(__name__).joinpath(f"{name}.lua").read_text(encoding="utf-8")


SANDBOX = _text("sandbox")
ROUTES = MappingProxyType(
    {
        kind: _text(kind)
        for kind in ("VirtualService.networking.istio.io", "DestinationRule.networking.istio.io")
    }
)
"""Scripts for custom routes, by kind and group."""
