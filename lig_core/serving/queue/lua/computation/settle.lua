-- The end of a computation: finished, failed or canceled. Nothing happens unless it is still where it was seen.
local computation, status = ARGUMENTS.computation, ARGUMENTS.status
local key = KEY.computation .. computation
require_sound('backlog', status, 'dead', 'webhooks')
local winner = status .. ' ' .. ARGUMENTS.place.member
if not leave(ARGUMENTS.place) then
  -- Asked again after a lost answer, the lease is gone because the first time worked, if it was not cut short.
  if field(key, FIELD.winner) ~= winner then return 0 end
  if field(key, FIELD.status) ~= 'started' then return 1 end
end
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HSET', key, FIELD.winner, winner)

-- How long the work that was asked for took; each job makes those before it count less.
local function learn(seconds)
  local work = number(field(key, FIELD.work))
  if work <= 0 or seconds <= 0 then return end
  local before = redis.pcall('HMGET', KEY.rate, FIELD.work, FIELD.seconds)
  local FADE = 0.9
  redis.pcall('HSET', KEY.rate, FIELD.work, text(FADE * number(before[1]) + work))
  redis.pcall('HSET', KEY.rate, FIELD.seconds, text(FADE * number(before[2]) + seconds))
end

local event = given(ARGUMENTS.error) and ARGUMENTS.error or nil
if status == 'finished' then
  local converged = true
  each_part(computation, function(_, part, pointer)
    if part ~= FIELD.head then converged = converged and cjson.decode(pointer).converged end
  end)
  event = cjson.encode({converged = converged})
  redis.call('HSET', key, FIELD.load_seconds, text(ARGUMENTS.load), FIELD.compute_seconds, text(ARGUMENTS.compute))
  observe('compute_seconds', ARGUMENTS.compute)
  if ARGUMENTS.loaded then
    count('model_loads')
    observe('load_seconds', ARGUMENTS.load)
  end
  if ARGUMENTS.whole then learn(ARGUMENTS.compute) end
end
if status == 'failed' then redis.call('HSET', key, FIELD.error, ARGUMENTS.error) end
if ARGUMENTS.dead then
  count('dead_letters')
  redis.call('ZADD', KEY.dead, NOW + number(field(key, FIELD.failure_ttl)), computation)
end
end_computation(computation, status, event)
return 1
