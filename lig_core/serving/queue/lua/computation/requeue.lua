-- Back into the queue, if still where it was seen: after a crash, or as if it had not been taken.
local computation, key = ARGUMENTS.computation, KEY.computation .. ARGUMENTS.computation
require_sound('waiting', 'flows', 'bell')
if not leave(ARGUMENTS.place) then return 0 end
if redis.call('EXISTS', key) == 0 then return 0 end
if ARGUMENTS.crashed then
  redis.call('HINCRBY', key, FIELD.retries_left, -1)
  count('retries')
  if ARGUMENTS.abandoned then count('abandoned') end
elseif ARGUMENTS.started then
  redis.call('HINCRBY', key, FIELD.attempts, -1)
end
enqueue(computation, ARGUMENTS.front)
return 1
