-- An Istio VirtualService: each route that leads to the stable Service gets a sibling that leads to the canary.
--
-- Weights: the share of the stable destination within its route is divided. Matches: a route before the
-- stable one takes the requests that match. Where the canary has no Service of its own, the two are the
-- subsets "stable" and "canary" of the stable host (see the DestinationRule).

local spec = obj.data.spec
local same_service = obj.canaryService == obj.stableService

-- A short name means the VirtualService's own namespace; a longer one names it.
local function leads_to_stable(destination)
  local host = destination and destination.host or ""
  local full = obj.stableService .. "." .. obj.namespace
  return host == obj.stableService or host == full or string.find(host, full .. ".", 1, true) == 1
end

local function copy(value)
  if type(value) ~= "table" then
    return value
  end
  local copied = {}
  for key, each in pairs(value) do
    copied[key] = copy(each)
  end
  return copied
end

local function of_canary(destination)
  local copied = copy(destination)
  if same_service then
    copied.subset = "canary"
  else
    copied.host = obj.canaryService .. string.sub(destination.host, #obj.stableService + 1)
    copied.subset = nil
  end
  return copied
end

local function find_stable(route)
  for at, each in ipairs(route.route or {}) do
    if leads_to_stable(each.destination) then
      return at, each
    end
  end
end

-- Weights of one route are shares of their sum; a single destination has all of it.
local function divide(route)
  local at, stable = find_stable(route)
  if not at then
    return
  end
  local share = stable.weight or (#route.route == 1 and 100 or 0)
  local canary = copy(stable)
  canary.destination = of_canary(stable.destination)
  canary.weight = math.floor(share * obj.canaryWeight / 100 + 0.5)
  stable.weight = share - canary.weight
  table.insert(route.route, at + 1, canary)
end

local KINDS = { Exact = "exact", RegularExpression = "regex", PathPrefix = "prefix" }

local function conditions(match)
  local said = {}
  for _, each in ipairs(match.headers or {}) do
    said.headers = said.headers or {}
    said.headers[string.lower(each.name)] = { [KINDS[each.type or "Exact"]] = each.value }
  end
  for _, each in ipairs(match.queryParams or {}) do
    said.queryParams = said.queryParams or {}
    said.queryParams[each.name] = { [KINDS[each.type or "Exact"]] = each.value }
  end
  if match.path then
    said.uri = { [KINDS[match.path.type or "PathPrefix"]] = match.path.value }
  end
  return said
end

-- All that the user's route asks for still has to hold; what both ask for is the canary's to say.
local function narrowed(theirs, ours)
  local both = copy(theirs)
  both.name = nil
  for field, said in pairs(ours) do
    if field == "uri" then
      both.uri = said
    else
      both[field] = both[field] or {}
      for name, condition in pairs(said) do
        both[field][name] = condition
      end
    end
  end
  return both
end

local function header_changes(modifier)
  local changes = {}
  for _, operation in ipairs({ "set", "add" }) do
    for _, each in ipairs(modifier[operation] or {}) do
      changes[operation] = changes[operation] or {}
      changes[operation][each.name] = each.value
    end
  end
  if modifier.remove and #modifier.remove > 0 then
    changes.remove = copy(modifier.remove)
  end
  return changes
end

local function canary_route(route, stable)
  local copied = copy(route)
  copied.name = route.name and route.name .. "-canary"
  copied.route = { { destination = of_canary(stable.destination), headers = copy(stable.headers) } }
  copied.match = {}
  for _, ours in ipairs(obj.matches) do
    for _, theirs in ipairs(route.match and #route.match > 0 and route.match or { {} }) do
      table.insert(copied.match, narrowed(theirs, conditions(ours)))
    end
  end
  if obj.requestHeaderModifier then
    copied.headers = copied.headers or {}
    copied.headers.request = header_changes(obj.requestHeaderModifier)
  end
  return copied
end

local function put_before(routes)
  local changed = {}
  for _, route in ipairs(routes) do
    local _, stable = find_stable(route)
    if stable then
      table.insert(changed, canary_route(route, stable))
    end
    table.insert(changed, route)
  end
  return changed
end

-- A redirect or a direct response leads to no Service and is left as it is. Weights first: the route that is
-- put before another has one destination, of which nothing is to be divided.
if obj.canaryWeight >= 0 then
  for _, protocol in ipairs({ "http", "tcp", "tls" }) do
    for _, route in ipairs(spec[protocol] or {}) do
      divide(route)
    end
  end
end
if obj.matches and #obj.matches > 0 then
  spec.http = put_before(spec.http or {})
end
if same_service and obj.stablePodTemplateHash then
  for _, protocol in ipairs({ "http", "tcp", "tls" }) do
    for _, route in ipairs(spec[protocol] or {}) do
      for _, each in ipairs(route.route or {}) do
        if leads_to_stable(each.destination) and not each.destination.subset then
          each.destination.subset = "stable"
        end
      end
    end
  end
end
return obj.data
