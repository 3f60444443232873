-- The end of a computation of which something is damaged. Nothing here relies on what is stored of it.
local computation = ARGUMENTS.computation
local key, claims, events = KEY.computation .. computation, KEY.claims .. computation, KEY.events .. computation
local DAY = 24 * 3600

waits_no_more(computation)
redis.call('ZREM', KEY.popped, computation)
for _, priority in ipairs(ARGUMENTS.priorities) do
  redis.pcall('ZREM', KEY.line .. priority, computation)
end
for _, member in ipairs(redis.call('ZRANGE', KEY.leases, 0, -1)) do
  if string.match(member, '^[^:]*') == computation then leave({key = KEY.leases, member = member}) end
end
for each, kind in pairs({[key] = 'hash', [claims] = 'hash', [events] = 'stream'}) do
  if not of_type(each, kind) then redis.call('DEL', each) end
end

local function seconds(name)
  local ttl = number(field(key, name))
  return (ttl >= 1 and ttl <= 365 * DAY) and math.floor(ttl) or DAY
end
local ttl, expired_ttl = seconds(FIELD.failure_ttl), seconds(FIELD.expired_ttl)
let_go_of_digest(computation)
redis.call('HSET', key, FIELD.status, 'failed', FIELD.ended, text(NOW), FIELD.error, ARGUMENTS.error)
redis.call('HSET', key, FIELD.origin, ARGUMENTS.queue)
for _, claim in ipairs(claims_of(computation)) do
  if of_type(KEY.job .. claim.job, 'hash') then job_ended(claim.job, claim.owner, 'failed', ttl, expired_ttl) end
end
-- A stream may be of the right type and full: no id comes after the last that there can be.
redis.pcall('XADD', events, '*', FIELD.kind, 'failed', FIELD.data, ARGUMENTS.error)
changed(computation)
keep_for(computation, KEY.failed, ttl)
return 1
