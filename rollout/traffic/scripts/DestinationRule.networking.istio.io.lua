-- An Istio DestinationRule: where the canary has no Service of its own, the subsets that tell its pods from
-- the stable ones. A subset of that name that its owner has is left as it is.
--
-- A canary with a Service of its own is a host of its own, of which this rule says nothing.

local spec = obj.data.spec
local host = spec.host or ""
local full = obj.stableService .. "." .. obj.namespace
local of_stable = host == obj.stableService or host == full or string.find(host, full .. ".", 1, true) == 1

local function add(name, hash)
  spec.subsets = spec.subsets or {}
  for _, subset in ipairs(spec.subsets) do
    if subset.name == name then
      return
    end
  end
  table.insert(spec.subsets, { name = name, labels = { ["pod-template-hash"] = hash } })
end

if obj.canaryService == obj.stableService and of_stable then
  if obj.stablePodTemplateHash then
    add("stable", obj.stablePodTemplateHash)
  end
  if obj.canaryPodTemplateHash then
    add("canary", obj.canaryPodTemplateHash)
  end
end
return obj.data
