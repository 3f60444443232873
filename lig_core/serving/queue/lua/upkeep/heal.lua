-- Count the backlog, the lines and what RQ's tools show anew, and forget flows that are level with all others.
if not redis.call('SET', KEY.healed, 1, 'NX', 'EX', ARGUMENTS.every) then return end
local total = 0
local function add(computation)
  total = total + number(field(KEY.computation .. computation, FIELD.cost))
end
for _, priority in ipairs(redis.call('HKEYS', KEY.costs)) do
  redis.call('DEL', KEY.line .. priority)
end
redis.call('DEL', KEY.costs)
redis.pcall('SADD', RQ_QUEUES, KEY.rq_waiting)
-- Earlier versions kept their leases in RQ's registry, by the time that they end.
local earlier = redis.call('ZRANGEBYSCORE', KEY.rq_running, '-inf', '(inf', 'WITHSCORES')
for i = 1, #earlier, 2 do
  redis.call('ZADD', KEY.leases, 'NX', earlier[i + 1], earlier[i])
end
-- A worker of RQ's own may have taken entries, which name nothing, to the second list.
redis.call('DEL', KEY.rq_waiting, KEY.rq_waiting .. ':intermediate', KEY.rq_running)
for _, computation in ipairs(redis.call('ZRANGE', KEY.waiting, 0, -1)) do
  redis.call('RPUSH', KEY.rq_waiting, RQ_ENTRY)
  add(computation)
  if field(KEY.computation .. computation, FIELD.flow) then pcall(joins_line, computation) end
end
for _, computation in ipairs(redis.call('ZRANGE', KEY.popped, 0, -1)) do
  add(computation)
end
for _, member in ipairs(redis.call('ZRANGE', KEY.leases, 0, -1)) do
  redis.call('ZADD', KEY.rq_running, 'inf', member)
  add(string.match(member, '^[^:]+'))
end
redis.call('SET', KEY.backlog, text(total))
local time = number(field(KEY.flows, FIELD.time))
local flat = redis.call('HGETALL', KEY.flows)
for i = 1, #flat, 2 do
  if flat[i] ~= FIELD.time and number(flat[i + 1]) <= time then redis.call('HDEL', KEY.flows, flat[i]) end
end
