-- Computations whose texts go into the sequence of one that was started, moved to those popped: the next in line of its
-- `shares`. Passed by are only such as may share a sequence themselves, so that whoever was sent alone waits for no more.
require_sound('popped')
local line = redis.call('ZRANGE', KEY.waiting, 0, ARGUMENTS.depth - 1)

-- What it may share, and its tokens; nothing where it runs alone: it ran before, or another's crash would be its end.
local function sharing(computation)
  local stored = redis.pcall(
    'HMGET', KEY.computation .. computation, FIELD.shares, FIELD.tokens, FIELD.attempts, FIELD.retries_left
  )
  if stored.err or not stored[1] or number(stored[3]) > 0 or number(stored[4]) < 1 then return nil end
  return stored[1], number(stored[2])
end

local first = KEY.computation .. ARGUMENTS.first
local shares, tokens = field(first, FIELD.shares), number(field(first, FIELD.tokens))
-- Workers that wait get as many each.
local most = math.min(ARGUMENTS.most, math.ceil((redis.call('ZCARD', KEY.waiting) + 1) / math.max(1, live_workers())))
local taken = {}
for _, computation in ipairs(line) do
  local its, more = sharing(computation)
  if not its or #taken + 1 >= most then break end
  if its == shares then
    tokens = tokens + more
    if tokens > ARGUMENTS.tokens then break end
    pop(computation)
    taken[#taken + 1] = computation
  end
end
if #taken > 0 then count('attempts_together', nil, #taken + 1) end
-- The first in line is passed by a bounded number of others: take.lua.
if #taken > 0 and taken[1] ~= line[1] then
  redis.pcall('HINCRBY', KEY.computation .. line[1], FIELD.passed, #taken)
end
return taken
