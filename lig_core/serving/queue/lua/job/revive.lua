-- Queue a failed or cancelled job again, with new retries; finished layers are kept.
local job = ARGUMENTS.job
local key = KEY.job .. job
local stored = redis.call('HMGET', key, FIELD.computation, FIELD.owner, FIELD.cancelled_at)
if not stored[1] then return 'missing' end
local computation, shared = stored[1], KEY.computation .. stored[1]
local state = redis.call('HMGET', shared, FIELD.status, FIELD.cancel_requested, FIELD.digest, FIELD.cost)
local status = state[1]
if not status then return 'missing' end
local ended = status == 'failed' or status == 'canceled'
if not ended and not stored[3] then return status end
if status == 'started' and state[2] then return 'stopping' end

redis.call('HDEL', key, FIELD.cancelled_at, FIELD.cancelled_after)
redis.call('HSET', KEY.claims .. computation, job, stored[2])
if status == 'finished' then return 'again' end
if ended then
  for _, registry in ipairs({'failed', 'canceled', 'dead'}) do
    redis.call('ZREM', KEY[registry], computation)
  end
  redis.call('HDEL', shared, FIELD.cancel_requested, FIELD.forget, FIELD.attempts, FIELD.progress_forgotten)
  redis.call('HDEL', shared, FIELD.ended, FIELD.winner, FIELD.error)
  redis.call('HSET', shared, FIELD.retries_left, ARGUMENTS.retries, FIELD.queued, text(NOW))
  redis.call('SET', KEY.digest .. state[3], computation)
  -- Who listens from the start must not meet the old end.
  redis.call('DEL', KEY.events .. computation)
  add_to_backlog(number(state[4]))
  enqueue(computation, false)
  each_part(computation, function(_, part, pointer)
    append(computation, kind_of(part), part == FIELD.head and '{}' or pointer)
  end)
  keep_unfinished(computation)
end
for _, claim in ipairs(claims_of(computation)) do
  redis.call('SADD', KEY.live .. claim.owner, claim.job)
  redis.call('PERSIST', KEY.job .. claim.job)
  redis.call('PERSIST', KEY.jobs .. claim.owner)
end
return 'again'
