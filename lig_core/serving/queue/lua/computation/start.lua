-- From popped to leased. Returns the time and the computation's hash, or nothing if it may not start.
local computation, place = ARGUMENTS.computation, ARGUMENTS.place
local key = KEY.computation .. computation
require_sound('leases', 'backlog', 'canceled', 'webhooks')

local function begin()
  local stored = redis.call('HMGET', key, FIELD.cancel_requested, FIELD.origin, FIELD.queued, FIELD.digest)
  if not stored[2] or not stored[4] then
    -- Nothing that was accepted here.
    redis.call('DEL', key)
    return false
  end
  if stored[1] then
    end_computation(computation, 'canceled')
    return false
  end
  redis.call('ZADD', place.key, NOW + ARGUMENTS.lease, place.member)
  redis.pcall('ZADD', KEY.rq_running, 'inf', place.member)
  redis.call('HSET', key, FIELD.status, 'started', FIELD.worker_name, ARGUMENTS.worker)
  redis.call('HDEL', key, FIELD.progress, FIELD.passed)
  local attempt = redis.call('HINCRBY', key, FIELD.attempts, 1)
  count('attempts')
  if attempt == 1 then
    redis.call('HSET', key, FIELD.started, text(NOW), FIELD.wait_seconds, text(NOW - number(stored[3])))
    observe('wait_seconds', NOW - number(stored[3]))
  end
  append(computation, 'started', cjson.encode({attempt = attempt}))
  return true
end

-- Asked again because the answer was lost, the lease is there already.
if not holds(place) then
  if redis.call('ZREM', KEY.popped, computation) == 0 then return nil end
  if redis.call('EXISTS', key) == 0 or not begin() then return nil end
end
return {text(NOW), redis.call('HGETALL', key)}
