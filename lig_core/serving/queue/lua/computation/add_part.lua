-- A part of the result becomes the computation's, if the attempt holds its lease and no other attempt had stored it.
-- It was written right before, unless Redis refused that: then the writer hears of the refusal, and nothing is changed.
local key, part, ref = KEY.computation .. ARGUMENTS.computation, ARGUMENTS.part, ARGUMENTS.ref
local held, before = holds(ARGUMENTS.place), field(key, part)
if before and cjson.decode(before).ref == ref then
  -- Written again and asked again, because the answer was lost: it stays as long as what points at it, though the lease
  -- may be another attempt's by now.
  local ttl = redis.call('TTL', key)
  if ttl < 0 then redis.call('PERSIST', ref) else redis.call('EXPIRE', ref, ttl + LONGER_THAN_POINTER) end
  return held and 1 or 0
end
if before or not held then
  redis.call('UNLINK', ref)
  return held and 1 or 0
end
if redis.call('EXISTS', ref) == 0 then return 0 end
redis.call('PERSIST', ref)
redis.call('HSET', key, part, ARGUMENTS.pointer)
append(ARGUMENTS.computation, kind_of(part), ARGUMENTS.event)
if #ARGUMENTS.nodes > 0 then observe_many('nodes', ARGUMENTS.nodes, ARGUMENTS.nodes_sum) end
if ARGUMENTS.unconverged > 0 then count('unconverged_targets', nil, ARGUMENTS.unconverged) end
return 1
