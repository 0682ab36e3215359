"""The Lua scripts. They keep to Redis' own clock, so that the gateways' clocks do not matter.

KEYS: for each scope its state (a hash) and its open reservations (a sorted set of `id|tokens|nano-dollars` by expiry).
Rules come as four arguments each: scope (from 1), code, most, interval; see `policy.Rule`. Fields of a state: `s`, `m`,
`t` when the rate is free again; `ht`, `hn` tokens and nano-dollars reserved; `d`, `o` periods with `ds`, `os` spent.
"""

from __future__ import annotations

import hashlib

_COMMON = """
local time = redis.call('TIME')
local seconds = tonumber(time[1])
local now = (seconds - 1735689600) * 1000000 + tonumber(time[2])
local today = math.floor(seconds / 86400)
local function day_of_month(day)
  local z = day + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  return doy - math.floor((153 * math.floor((5 * doy + 2) / 153) + 2) / 5) + 1
end
local function period(code)
  local first, following = today, today + 1
  if code == 'o' then
    first = today - day_of_month(today) + 1
    following = first + 31
    following = following - day_of_month(following) + 1
  end
  return first, (following * 86400 - 1735689600) * 1000000 - now
end
local scopes, rules = {}, {}
local function number(value) return tonumber(value or 0) or 0 end
local function load(first, count)
  for i = 1, #KEYS / 2 do
    local found = redis.call('HMGET', KEYS[2 * i - 1], 's', 'm', 't', 'ht', 'hn', 'd', 'ds', 'o', 'os')
    scopes[i] = {s = number(found[1]), m = number(found[2]), t = number(found[3]), ht = number(found[4]),
      hn = number(found[5]), d = number(found[6]), ds = number(found[7]), o = number(found[8]), os = number(found[9]),
      state = KEYS[2 * i - 1], open = KEYS[2 * i], reserves = false, keep = 3600}
  end
  for i = 1, count do
    local at = first + 4 * (i - 1)
    local rule = {scope = scopes[tonumber(ARGV[at])], code = ARGV[at + 1], most = tonumber(ARGV[at + 2]),
      interval = tonumber(ARGV[at + 3])}
    if rule.code ~= 's' and rule.code ~= 'm' then rule.scope.reserves = true end
    if rule.code == 'd' or rule.code == 'o' then
      rule.first, rule.ends = period(rule.code)
      rule.spent = rule.scope[rule.code] == rule.first and rule.scope[rule.code .. 's'] or 0
      rule.scope.keep = 3456000
    end
    rules[i] = rule
  end
end
local function whole(value) return string.format('%.0f', value) end
local function exact(value) return string.format('%.3f', value) end
"""

ADMIT = (
    _COMMON
    + """
local lease, count = tonumber(ARGV[1]), tonumber(ARGV[2])
load(3, count)
local id, tokens, nano = ARGV[#ARGV - 2], tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])
for _, scope in ipairs(scopes) do
  if scope.reserves then
    local expired = redis.call('ZRANGEBYSCORE', scope.open, '-inf', exact(now), 'LIMIT', 0, 500)
    for _, member in ipairs(expired) do
      local t, n = string.match(member, '|(%d+)|(%d+)$')
      scope.ht, scope.hn = scope.ht - number(t), scope.hn - number(n)
      redis.call('ZREM', scope.open, member)
    end
    scope.count = redis.call('ZCARD', scope.open)
    if scope.count == 0 then scope.ht, scope.hn = 0, 0 end
    if #expired > 0 then redis.call('HSET', scope.state, 'ht', whole(scope.ht), 'hn', whole(scope.hn)) end
  end
end
local function needed(rule)
  local scope, code, most, interval = rule.scope, rule.code, rule.most, rule.interval
  if code == 'c' then return scope.count >= most and 1000000 or 0 end
  if code == 'd' or code == 'o' then
    if rule.spent + scope.hn + nano <= most then return 0 end
    return rule.spent + nano > most and rule.ends or 1000000
  end
  local level = math.max(scope[code] - now, 0)
  if code == 't' then
    local over = level + (scope.ht + tokens - most) * interval
    if over <= 0 then return 0 end
    return scope.ht + tokens <= most and over or math.max(over - scope.ht * interval, 1000000)
  end
  return math.max(level + interval - most * interval, 0)
end
local refused, wait = 0, 0
for i, rule in ipairs(rules) do
  local time = needed(rule)
  if time > 0 and (refused == 0 or time > wait) then refused, wait = i, time end
end
if refused == 0 then
  local fields = {}
  for _, scope in ipairs(scopes) do fields[scope.state] = {} end
  for _, rule in ipairs(rules) do
    if rule.code == 's' or rule.code == 'm' then
      local scope = rule.scope
      scope[rule.code] = tonumber(exact(math.max(scope[rule.code], now) + rule.interval))
      local list = fields[scope.state]
      list[#list + 1] = rule.code
      list[#list + 1] = exact(scope[rule.code])
    end
  end
  for _, scope in ipairs(scopes) do
    local list = fields[scope.state]
    if scope.reserves then
      scope.ht, scope.hn, scope.count = scope.ht + tokens, scope.hn + nano, scope.count + 1
      list[#list + 1] = 'ht'
      list[#list + 1] = whole(scope.ht)
      list[#list + 1] = 'hn'
      list[#list + 1] = whole(scope.hn)
      redis.call('ZADD', scope.open, exact(now + lease), id .. '|' .. whole(tokens) .. '|' .. whole(nano))
      redis.call('EXPIRE', scope.open, 3600)
    end
    redis.call('HSET', scope.state, unpack(list))
    redis.call('EXPIRE', scope.state, scope.keep)
  end
end
local reply = {refused - 1, math.ceil(wait)}
for i, rule in ipairs(rules) do
  local scope, code = rule.scope, rule.code
  local left, reset
  if code == 'c' then
    left, reset = rule.most - scope.count, scope.count > 0 and 1000000 or 0
  elseif code == 'd' or code == 'o' then
    left, reset = rule.most - rule.spent - scope.hn, rule.ends
  else
    local level, held = math.max(scope[code] - now, 0), code == 't' and scope.ht or 0
    left, reset = rule.most - held - level / rule.interval, level + held * rule.interval
  end
  reply[2 * i + 1], reply[2 * i + 2] = math.max(math.floor(left), 0), math.ceil(reset)
end
return reply
"""
)
"""ARGV: lease (us), number of rules, the rules, id, tokens, nano-dollars. Answers as `book.Verdict`, in one list."""

SETTLE = (
    _COMMON
    + """
local count = tonumber(ARGV[1])
load(2, count)
local at = 2 + 4 * count
local member, tokens, nano = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
local used_tokens, used_nano, force = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), ARGV[at + 5] == '1'
local had = 0
for _, scope in ipairs(scopes) do
  if scope.reserves then
    local released = redis.call('ZREM', scope.open, member .. '|' .. whole(tokens) .. '|' .. whole(nano))
    local list = {}
    if released == 1 then
      had = 1
      list = {'ht', whole(math.max(scope.ht - tokens, 0)), 'hn', whole(math.max(scope.hn - nano, 0))}
    end
    if released == 1 or force then
      for _, rule in ipairs(rules) do
        if rule.scope == scope then
          if rule.code == 't' then
            list[#list + 1] = 't'
            list[#list + 1] = exact(math.max(scope.t, now) + used_tokens * rule.interval)
          elseif rule.code == 'd' or rule.code == 'o' then
            list[#list + 1] = rule.code
            list[#list + 1] = whole(rule.first)
            list[#list + 1] = rule.code .. 's'
            list[#list + 1] = whole(rule.spent + used_nano)
          end
        end
      end
      if #list > 0 then
        redis.call('HSET', scope.state, unpack(list))
        redis.call('EXPIRE', scope.state, scope.keep)
      end
    end
  end
end
return had
"""
)
"""ARGV: number of rules, the rules, id, tokens and nano-dollars reserved, tokens and nano-dollars used, force (0 or 1).

A reservation can be settled once. `force` charges also where there is none: it expired, or was never made here.
"""

RENEW = """
local time = redis.call('TIME')
local expires = string.format('%.0f', (tonumber(time[1]) - 1735689600) * 1000000 + tonumber(time[2]) + ARGV[1])
for i = 2, #KEYS, 2 do
  for j = 2, #ARGV do redis.call('ZADD', KEYS[i], 'XX', expires, ARGV[j]) end
  redis.call('EXPIRE', KEYS[i], 3600)
end
return 1
"""
"""ARGV: lease (us), members of the open reservations, which then live a lease longer."""


def digest(script: str) -> str:
    """The name of a script for EVALSHA."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
