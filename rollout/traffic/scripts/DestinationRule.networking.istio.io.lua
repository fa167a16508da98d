-- An Istio DestinationRule: where the canary has no Service of its own, the subset that its pods are.
--
-- A canary with a Service of its own is a host of its own, of which this rule says nothing.

local spec = obj.data.spec
local host = spec.host or ""
local full = obj.stableService .. "." .. obj.namespace
local of_stable = host == obj.stableService or host == full or string.find(host, full .. ".", 1, true) == 1

if obj.canaryService == obj.stableService and of_stable and obj.canaryPodTemplateHash then
  spec.subsets = spec.subsets or {}
  for _, subset in ipairs(spec.subsets) do
    if subset.name == "canary" then
      return obj.data
    end
  end
  local labels = { ["pod-template-hash"] = obj.canaryPodTemplateHash }
  table.insert(spec.subsets, { name = "canary", labels = labels })
end
return obj.data
