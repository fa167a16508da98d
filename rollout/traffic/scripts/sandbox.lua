-- The world in which a user's script runs: values in, values out, nothing else, and never for ever.
--
-- Returns run(name, source, input, limits): input and result are JSON texts, so that no object of the
-- host is ever within a script's reach. Raises a text that names script and line.
--
-- What is counted: instructions, by a hook, which looks at the clock too; the work of pattern matching,
-- which happens within one instruction, by its worst case; memory is the host's to limit. What could be
-- endless within one instruction otherwise is refused by its arguments.

local assert, error, next, pairs, pcall, rawget, select, setmetatable, tonumber, tostring, type, unpack =
  assert, error, next, pairs, pcall, rawget, select, setmetatable, tonumber, tostring, type, unpack
local loadstring, sethook, clock = loadstring, debug.sethook, os.clock
local byte, char, find, floor, format, gmatch, gsub, huge, len, match, rep, sub =
  string.byte, string.char, string.find, math.floor, string.format, string.gmatch, string.gsub, math.huge,
  string.len, string.match, string.rep, string.sub
local concat, insert = table.concat, table.insert

local STEP = 1000 -- instructions between two looks at the account
local PATTERN_LENGTH = 500 -- matching recurses for each part of a pattern
local CAUGHT = 200 -- for setting up a call that catches errors
local UNPACKED = 200 -- values on Lua's stack at once
local DEPTH = 100 -- of JSON; no Kubernetes object is as deep

-- --- the account ------------------------------------------------------------------------------------

local left, until_clock = 0, 0
local spent_text = ""

-- Once spent, every single instruction fails: an error that a script catches comes again at its next step.
local function spent()
  error(spent_text, 0)
end

local function charge(cost)
  left = left - cost
  if left < 0 then
    sethook(spent, "", 1)
    spent()
  end
end

local function count()
  charge(clock() < until_clock and STEP or left + 1)
end

-- --- JSON -------------------------------------------------------------------------------------------

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }
local ESCAPED = { ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
  ['"'] = '\\"', ["\\"] = "\\\\" }

local function utf8(code)
  if code < 0x80 then
    return char(code)
  elseif code < 0x800 then
    return char(0xC0 + floor(code / 0x40), 0x80 + code % 0x40)
  elseif code < 0x10000 then
    return char(0xE0 + floor(code / 0x1000), 0x80 + floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
  end
  return char(0xF0 + floor(code / 0x40000), 0x80 + floor(code / 0x1000) % 0x40,
    0x80 + floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
end

local function broken(at)
  error("json.decode: not JSON at character " .. at, 0)
end

local function decode_string(text, at)
  local parts = {}
  while true do
    local stop = find(text, '["\\]', at) or broken(at)
    parts[#parts + 1] = sub(text, at, stop - 1)
    if byte(text, stop) == 34 then
      return concat(parts), stop + 1
    end
    local kind = sub(text, stop + 1, stop + 1)
    at = stop + 2
    if kind == "u" then
      local code = tonumber(match(text, "^%x%x%x%x", at) or broken(at), 16)
      at = at + 4
      local low = code >= 0xD800 and code < 0xDC00 and match(text, "^\\u([dD][c-fC-F]%x%x)", at)
      if low then
        code = 0x10000 + (code - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00
        at = at + 6
      end
      parts[#parts + 1] = utf8(code)
    else
      parts[#parts + 1] = ESCAPES[kind] or broken(stop)
    end
  end
end

local decode_value

local function skip(text, at)
  return find(text, "[^ \t\r\n]", at) or #text + 1
end

local function decode_list(text, at, depth)
  local list, size = {}, 0
  at = skip(text, at)
  if byte(text, at) == 93 then
    return list, at + 1
  end
  while true do
    size = size + 1
    list[size], at = decode_value(text, at, depth)
    at = skip(text, at)
    local mark = byte(text, at)
    at = at + 1
    if mark == 93 then
      return list, at
    elseif mark ~= 44 then
      broken(at - 1)
    end
  end
end

local function decode_object(text, at, depth)
  local object = {}
  at = skip(text, at)
  if byte(text, at) == 125 then
    return object, at + 1
  end
  while true do
    at = skip(text, at)
    if byte(text, at) ~= 34 then
      broken(at)
    end
    local key
    key, at = decode_string(text, at + 1)
    at = skip(text, at)
    if byte(text, at) ~= 58 then
      broken(at)
    end
    object[key], at = decode_value(text, at + 1, depth)
    at = skip(text, at)
    local mark = byte(text, at)
    at = at + 1
    if mark == 125 then
      return object, at
    elseif mark ~= 44 then
      broken(at - 1)
    end
  end
end

function decode_value(text, at, depth)
  if depth > DEPTH then
    error("json.decode: deeper than " .. DEPTH, 0)
  end
  at = skip(text, at)
  local first = byte(text, at)
  if first == 34 then
    return decode_string(text, at + 1)
  elseif first == 123 then
    return decode_object(text, at + 1, depth + 1)
  elseif first == 91 then
    return decode_list(text, at + 1, depth + 1)
  elseif sub(text, at, at + 3) == "true" then
    return true, at + 4
  elseif sub(text, at, at + 4) == "false" then
    return false, at + 5
  elseif sub(text, at, at + 3) == "null" then
    return nil, at + 4
  end
  local number = match(text, "^-?%d+%.?%d*[eE]?[-+]?%d*", at)
  return tonumber(number or broken(at)) or broken(at), at + #(number or "")
end

local function decode(text)
  if type(text) ~= "string" then
    error("json.decode: wants a string, got " .. type(text), 2)
  end
  charge(len(text))
  local value, at = decode_value(text, 1, 0)
  if skip(text, at) <= #text then
    broken(at)
  end
  return value
end

local function encode_string(text)
  charge(len(text))
  local plain = gsub(text, '[%z\1-\31"\\]', function(found)
    return ESCAPED[found] or format("\\u%04x", byte(found))
  end)
  return '"' .. plain .. '"'
end

local function encode_number(number)
  if number ~= number or number == huge or number == -huge then
    error("json.encode: no JSON for the number " .. tostring(number), 0)
  elseif number == floor(number) and number > -1e15 and number < 1e15 then
    return format("%d", number)
  end
  return format("%.17g", number)
end

local encode_value

-- A table with keys 1 to n is a list, one with strings an object; an empty one is a list, as the scripts
-- of this API have always had it.
local function encode_table(value, depth)
  if depth > DEPTH then
    error("json.encode: deeper than " .. DEPTH .. ", or a table that contains itself", 0)
  end
  local parts, size, keyed = {}, 0, nil
  for key in next, value do
    size = size + 1
    local is_key = type(key) == "string"
    if not is_key and type(key) ~= "number" or keyed ~= nil and keyed ~= is_key then
      error("json.encode: a table with keys of several kinds, at " .. tostring(key), 0)
    end
    keyed = is_key
  end
  if keyed then
    for key, each in next, value do
      parts[#parts + 1] = encode_string(key) .. ":" .. encode_value(each, depth + 1)
    end
    return "{" .. concat(parts, ",") .. "}"
  end
  for at = 1, size do
    local each = rawget(value, at)
    if each == nil then
      error("json.encode: a list with a hole at " .. at, 0)
    end
    parts[at] = encode_value(each, depth + 1)
  end
  return "[" .. concat(parts, ",") .. "]"
end

function encode_value(value, depth)
  local kind = type(value)
  if kind == "table" then
    return encode_table(value, depth)
  elseif kind == "string" then
    return encode_string(value)
  elseif kind == "number" then
    return encode_number(value)
  elseif kind == "boolean" or kind == "nil" then
    return value == nil and "null" or tostring(value)
  end
  error("json.encode: no JSON for a " .. kind, 0)
end

local function encode(value)
  return encode_value(value, 0)
end

-- --- what is kept of the libraries -------------------------------------------------------------------

-- Counts what can match at several lengths: repetitions, balanced texts, back references.
local function repetitions(pattern)
  local at, size, found = 1, len(pattern), 0
  while at <= size do
    local sign = byte(pattern, at)
    at = at + 1
    if sign == 37 then -- %
      local kind = byte(pattern, at) or 0
      at = at + (kind == 98 and 3 or 1)
      if kind == 98 or kind == 102 or kind >= 48 and kind <= 57 then
        found = found + 1
      end
    elseif sign == 91 then -- a set: its first character is never its end
      if byte(pattern, at) == 94 then
        at = at + 1
      end
      repeat
        at = at + (byte(pattern, at) == 37 and 2 or 1)
      until at > size or byte(pattern, at) == 93
      at = at + 1
    elseif sign == 42 or sign == 43 or sign == 45 then
      found = found + 1
    end
  end
  return found
end

-- The worst that matching can come to: every repetition tries every length, from every beginning.
local function charge_pattern(text, pattern)
  if type(text) == "number" then text = tostring(text) end
  if type(pattern) == "number" then pattern = tostring(pattern) end
  if type(text) ~= "string" or type(pattern) ~= "string" then
    return -- the library says what it wants
  elseif len(pattern) > PATTERN_LENGTH then
    error("a pattern of more than " .. PATTERN_LENGTH .. " characters", 3)
  end
  local power = repetitions(pattern) + (byte(pattern) == 94 and 0 or 1)
  charge((len(text) + 1) ^ power / 100)
end

local function counted(matching)
  return function(text, pattern, ...)
    charge_pattern(text, pattern)
    return matching(text, pattern, ...)
  end
end

local function find_counted(text, pattern, init, plain)
  if not plain then
    charge_pattern(text, pattern)
  end
  return find(text, pattern, init, plain)
end

-- In Lua 5.1 an empty string is repeated in a loop that nothing interrupts.
local function rep_counted(text, times)
  if tostring(text) == "" or (tonumber(times) or 0) < 1 then
    return ""
  end
  charge(len(text) * times / 10)
  return rep(text, times)
end

local function insert_within(list, ...)
  if select("#", ...) >= 2 then
    local at = ...
    if type(at) == "number" and (at < 1 or at > #list + 1) then
      error("table.insert: position " .. at .. " is outside of the list", 2)
    end
  end
  return insert(list, ...)
end

local function concat_within(list, separator, from, to)
  return concat(list, separator, from or 1, to or #list)
end

local function unpack_within(list, from, to)
  from, to = from or 1, to or #list
  if to - from >= UNPACKED then
    error("unpack: more than " .. UNPACKED .. " values", 2)
  end
  return unpack(list, from, to)
end

-- A call that catches errors costs many times an ordinary one; that memory has run out is not caught.
local function passed(ok, ...)
  if not ok and ... == "not enough memory" then
    left = 0
    spent_text = ...
    charge(1)
  end
  return ok, ...
end

local function pcall_counted(called, ...)
  charge(CAUGHT)
  return passed(pcall(called, ...))
end

-- The handler runs after the failure, not within it: there it would not be counted.
local function xpcall_counted(called, handler)
  local results = { n = 0 }
  local function keep(...)
    results = { n = select("#", ...), ... }
  end
  keep(pcall_counted(called))
  if results[1] then
    return unpack(results, 1, results.n)
  end
  return false, handler(results[2])
end

-- The same numbers in every run: what a script returns has to be the same whenever it is asked.
local seed = 0
local function random(low, high)
  seed = (seed * 16807 + 11) % 2147483647
  local share = seed / 2147483647
  if low == nil then
    return share
  elseif high == nil then
    low, high = 1, low
  end
  if low > high then
    error("math.random: the interval is empty", 2)
  end
  return low + floor(share * (high - low + 1))
end

local function nothing() end

local KEPT = { _VERSION = _VERSION, assert = assert, error = error, getmetatable = getmetatable,
  ipairs = ipairs, next = next, pairs = pairs, pcall = pcall_counted, rawequal = rawequal, rawget = rawget,
  rawset = rawset, select = select, setmetatable = setmetatable, tonumber = tonumber, tostring = tostring,
  type = type, unpack = unpack_within, xpcall = xpcall_counted, print = nothing, math = math,
  string = string, table = table, json = { encode = encode, decode = decode } }

string.dump = nil
string.find, string.rep = find_counted, rep_counted
string.match, string.gmatch, string.gsub = counted(match), counted(gmatch), counted(gsub)
string.gfind = string.gmatch
table.insert, table.concat = insert_within, concat_within
table.foreach, table.foreachi, table.setn = nil, nil, nil
math.random, math.randomseed = random, nothing

local globals = _G
for name in pairs(globals) do
  globals[name] = nil
end
for name, value in pairs(KEPT) do
  globals[name] = value
end
globals._G = globals

-- --- running ------------------------------------------------------------------------------------------

return function(name, source, input, limit, seconds, text)
  left, until_clock, spent_text = limit, clock() + seconds, text
  if byte(source) == 27 then
    error(name .. ": compiled code is not run, only source", 0)
  end
  local script, complaint = loadstring(source, "=" .. name)
  if not script then
    error(complaint, 0)
  end
  sethook(count, "", STEP)
  globals.obj = decode(input)
  local result = script()
  if type(result) ~= "table" then
    error(name .. ": returns " .. (result == nil and "nothing" or "a " .. type(result)) .. ", not a table", 0)
  end
  return encode(result)
end
