-- The next computation, moved to those popped: the first in line, or one close behind it whose model the worker holds.
require_sound('popped', 'flows')
local line = redis.call('ZRANGE', KEY.waiting, 0, ARGUMENTS.depth - 1, 'WITHSCORES')
if #line == 0 then
  redis.call('DEL', KEY.bell)
  return nil
end

local function is_held(computation)
  local stored = redis.pcall('HMGET', KEY.computation .. computation, FIELD.model, FIELD.dtype)
  for _, held in ipairs(ARGUMENTS.holds) do
    if held[1] == stored[1] and held[2] == stored[2] then return true end
  end
  return false
end

-- The first in line is passed by a bounded number of others, and only by those within `window` of its tag.
local function choose()
  local first, furthest = line[1], number(line[2]) + ARGUMENTS.window
  if #ARGUMENTS.holds == 0 then return 1 end
  if number(field(KEY.computation .. first, FIELD.passed)) >= ARGUMENTS.passes then return 1 end
  for i = 1, #line, 2 do
    if number(line[i + 1]) > furthest then break end
    if is_held(line[i]) then
      if i > 1 then redis.pcall('HINCRBY', KEY.computation .. first, FIELD.passed, 1) end
      return i
    end
  end
  return 1
end

local chosen = choose()
local computation, tag = line[chosen], number(line[chosen + 1])
pop(computation)
local time = math.max(number(field(KEY.flows, FIELD.time)), tag)
if #line == 2 then
  -- Nobody waits any more: who comes next starts level with all others.
  for _, value in ipairs(redis.call('HVALS', KEY.flows)) do time = math.max(time, number(value)) end
  redis.call('DEL', KEY.flows)
end
redis.call('HSET', KEY.flows, FIELD.time, text(time))
return computation
