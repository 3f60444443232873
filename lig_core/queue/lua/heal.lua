-- Count the backlog of a queue and what waits anew, and forget flows that are level with all others.
local queue = ARGUMENTS.queue
if not redis.call('SET', KEY.healed .. queue, 1, 'NX', 'EX', ARGUMENTS.every) then return end
local total = 0
local function add(computation)
  total = total + number(field(KEY.computation .. computation, 'cost'))
end
for _, priority in ipairs(redis.call('HKEYS', KEY.costs .. queue)) do
  redis.call('DEL', KEY.line .. queue .. ':' .. priority)
end
redis.call('DEL', KEY.costs .. queue)
for _, computation in ipairs(redis.call('ZRANGE', KEY.waiting .. queue, 0, -1)) do
  add(computation)
  if field(KEY.computation .. computation, 'flow') then pcall(joins_line, computation) end
end
for _, computation in ipairs(redis.call('ZRANGE', KEY.popped .. queue, 0, -1)) do
  add(computation)
end
for _, member in ipairs(redis.call('ZRANGE', KEY.leases .. queue, 0, -1)) do
  add(string.match(member, '^[^:]+'))
end
redis.call('SET', KEY.backlog .. queue, text(total))
local flows, time = KEY.flows .. queue, number(field(KEY.flows .. queue, 'time'))
local flat = redis.call('HGETALL', flows)
for i = 1, #flat, 2 do
  if flat[i] ~= 'time' and number(flat[i + 1]) <= time then redis.call('HDEL', flows, flat[i]) end
end
