"""The Lua scripts. They keep to Redis' own clock, so that the gateways' clocks do not matter.

KEYS: for each scope its state (a hash) and its open reservations (a sorted set of `id|tokens|nano-dollars` by expiry).
Rules come as four arguments each: scope (from 1), code, most, interval; see `policy.Rule`. Fields of a state: `s`, `m`,
`t` when the rate is free again; `ht`, `hn` tokens and nano-dollars reserved; `d`, `o` periods with `ds`, `os` spent;
`e` no reservation expires before it; `x` until when the state is kept at least (seconds since 1970).

A call costs about what its commands cost, so each scope is read by one and written by one, and what need not be done
each time (looking for expired reservations, prolonging the keys' lives) is done when it is due. Requests of one plan
that come in one turn of a gateway's loop share a call: they are decided one after the other, as if each had its own.
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
local function load(first, count)
  for i = 1, #KEYS / 2 do
    scopes[i] = {state = KEYS[2 * i - 1], open = KEYS[2 * i], reserves = false, keep = 3600, names = {'x'}, list = {},
      s = 0, m = 0, t = 0, ht = 0, hn = 0, e = 0, count = 0}
  end
  for i = 1, count do
    local at = first + 4 * (i - 1)
    local scope, code = scopes[tonumber(ARGV[at])], ARGV[at + 1]
    local names = scope.names
    if code ~= 's' and code ~= 'm' and not scope.reserves then
      scope.reserves = true
      names[#names + 1], names[#names + 2], names[#names + 3] = 'ht', 'hn', 'e'
    end
    if code ~= 'c' then names[#names + 1] = code end
    if code == 'd' or code == 'o' then
      names[#names + 1] = code .. 's'
      scope.keep = 3456000
    end
    rules[i] = {scope = scope, code = code, most = tonumber(ARGV[at + 2]), interval = tonumber(ARGV[at + 3])}
  end
  for _, scope in ipairs(scopes) do
    local found = redis.call('HMGET', scope.state, unpack(scope.names))
    for i, name in ipairs(scope.names) do scope[name] = tonumber(found[i] or 0) or 0 end
  end
  for _, rule in ipairs(rules) do
    local code = rule.code
    if code == 'd' or code == 'o' then
      rule.first, rule.ends = period(code)
      rule.spent = rule.scope[code] == rule.first and rule.scope[code .. 's'] or 0
    end
  end
end
local function exact(value) return string.format('%.3f', value) end
local function put(scope, name, value)
  local list = scope.list
  list[#list + 1] = name
  list[#list + 1] = value
end
local function save(scope)
  local due = scope.x < seconds + scope.keep - 600
  if due then put(scope, 'x', seconds + scope.keep) end
  redis.call('HSET', scope.state, unpack(scope.list))
  if due then redis.call('EXPIRE', scope.state, scope.keep) end
  return due
end
"""

ADMIT = (
    _COMMON
    + """
local lease, count = tonumber(ARGV[1]), tonumber(ARGV[2])
load(3, count)
for _, scope in ipairs(scopes) do
  if scope.reserves then
    if now >= scope.e then
      local expired = redis.call('ZRANGEBYSCORE', scope.open, '-inf', exact(now), 'LIMIT', 0, 500)
      for _, member in ipairs(expired) do
        local t, n = string.match(member, '|(%d+)|(%d+)$')
        scope.ht, scope.hn = scope.ht - (tonumber(t) or 0), scope.hn - (tonumber(n) or 0)
      end
      if #expired > 0 then
        redis.call('ZREM', scope.open, unpack(expired))
        scope.changed = true
      end
      local next = redis.call('ZRANGE', scope.open, 0, 0, 'WITHSCORES')
      scope.e = tonumber(next[2] or 0)
    end
    scope.count = redis.call('ZCARD', scope.open)
    if scope.count == 0 then scope.ht, scope.hn = 0, 0 end
    scope.fresh = scope.count == 0
    scope.members = {}
  end
end
local function needed(rule, tokens, nano)
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
local reply, at, expires, admitted = {}, 3 + 4 * count, exact(now + lease), false
while at < #ARGV do
  local member, tokens, nano = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  local refused, wait = 0, 0
  for i, rule in ipairs(rules) do
    local time = needed(rule, tokens, nano)
    if time > 0 and (refused == 0 or time > wait) then refused, wait = i, time end
  end
  if refused == 0 then
    admitted = true
    for _, rule in ipairs(rules) do
      local code = rule.code
      if code == 's' or code == 'm' then
        local scope = rule.scope
        scope[code] = tonumber(exact(math.max(scope[code], now) + rule.interval))
      end
    end
    for _, scope in ipairs(scopes) do
      if scope.reserves then
        scope.ht, scope.hn, scope.count = scope.ht + tokens, scope.hn + nano, scope.count + 1
        local members = scope.members
        members[#members + 1] = expires
        members[#members + 1] = member
      end
    end
  end
  reply[#reply + 1] = refused - 1
  reply[#reply + 1] = math.ceil(wait)
  for _, rule in ipairs(rules) do
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
    reply[#reply + 1] = math.max(math.floor(left), 0)
    reply[#reply + 1] = math.ceil(reset)
  end
end
if admitted then
  for _, rule in ipairs(rules) do
    if rule.code == 's' or rule.code == 'm' then put(rule.scope, rule.code, exact(rule.scope[rule.code])) end
  end
end
for _, scope in ipairs(scopes) do
  if admitted and scope.reserves then
    redis.call('ZADD', scope.open, unpack(scope.members))
    if scope.fresh or tonumber(expires) < scope.e then scope.e = tonumber(expires) end
    scope.changed = true
  end
  if scope.changed then
    put(scope, 'ht', scope.ht)
    put(scope, 'hn', scope.hn)
    put(scope, 'e', exact(scope.e))
  end
  if #scope.list > 0 and (save(scope) or scope.fresh) and scope.reserves then
    redis.call('EXPIRE', scope.open, 3600)
  end
end
return reply
"""
)
"""ARGV: lease (us), number of rules, the rules; for each request its member (`id|tokens|nano-dollars`), tokens and
nano-dollars. Answers for each request as `book.Verdict`, all in one list."""

SETTLE = (
    _COMMON
    + """
local count = tonumber(ARGV[1])
load(2, count)
local at, had = 2 + 4 * count, 0
while at < #ARGV do
  local member, tokens, nano = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local used_tokens, used_nano, force = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), ARGV[at + 5] == '1'
  at = at + 6
  local one = 0
  for _, scope in ipairs(scopes) do
    scope.charged = false
    if scope.reserves then
      if redis.call('ZREM', scope.open, member) == 1 then
        one = 1
        scope.charged, scope.released = true, true
        scope.ht, scope.hn = math.max(scope.ht - tokens, 0), math.max(scope.hn - nano, 0)
      elseif force then
        scope.charged = true
      end
    end
  end
  had = had + one
  for _, rule in ipairs(rules) do
    local scope, code = rule.scope, rule.code
    if scope.charged then
      if code == 't' then
        scope.t = tonumber(exact(math.max(scope.t, now) + used_tokens * rule.interval))
        rule.changed = true
      elseif rule.spent then
        rule.spent = rule.spent + used_nano
        rule.changed = true
      end
    end
  end
end
for _, rule in ipairs(rules) do
  if rule.changed and rule.code == 't' then
    put(rule.scope, 't', exact(rule.scope.t))
  elseif rule.changed then
    put(rule.scope, rule.code, rule.first)
    put(rule.scope, rule.code .. 's', rule.spent)
  end
end
for _, scope in ipairs(scopes) do
  if scope.released then
    put(scope, 'ht', scope.ht)
    put(scope, 'hn', scope.hn)
  end
  if #scope.list > 0 then save(scope) end
end
return had
"""
)
"""ARGV: number of rules, the rules; for each request its member, tokens and nano-dollars reserved, tokens and
nano-dollars used, force (0 or 1). Answers how many had a reservation.

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
