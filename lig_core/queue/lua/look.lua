-- For each job asked for: its hash, its computation's hash, its place in the queue. Nothing is changed.
local found = {}
for i, job in ipairs(ARGUMENTS.jobs) do
  local own = redis.call('HGETALL', KEY.job .. job)
  local computation = field(KEY.job .. job, 'computation') or ''
  local shared = redis.call('HGETALL', KEY.computation .. computation)
  local queue = field(KEY.computation .. computation, 'origin') or ''
  found[i] = {own, shared, redis.call('ZRANK', KEY.waiting .. queue, computation)}
end
return found
