-- A part of the result becomes the computation's, if the attempt holds its lease and no other attempt had stored it.
local key, part, pointer = KEY.computation .. ARGUMENTS.computation, ARGUMENTS.part, ARGUMENTS.pointer
if not holds(ARGUMENTS.place) then
  redis.call('UNLINK', ARGUMENTS.ref)
  return 0
end
local before = field(key, part)
if before and cjson.decode(before).ref ~= ARGUMENTS.ref then
  -- Somebody else was first.
  redis.call('UNLINK', ARGUMENTS.ref)
  return 1
end
redis.call('PERSIST', ARGUMENTS.ref)
-- Written again and asked again, because the answer was lost.
if before then return 1 end
redis.call('HSET', key, part, pointer)
append(ARGUMENTS.computation, kind_of(part), ARGUMENTS.event)
if #ARGUMENTS.nodes > 0 then observe_many('nodes', ARGUMENTS.nodes, ARGUMENTS.nodes_sum) end
if ARGUMENTS.unconverged > 0 then count('unconverged_targets', nil, ARGUMENTS.unconverged) end
return 1
