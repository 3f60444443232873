-- The model files that an attempt computes with. Returns whether the request was checked against the same, and the
-- layers that stay; nothing without the lease.
local computation, files = ARGUMENTS.computation, given(ARGUMENTS.files) and ARGUMENTS.files or ''
local key = KEY.computation .. computation
if not holds(ARGUMENTS.place) then return nil end
local told = redis.call('HMGET', key, 'files', 'computed_with')
local as_checked = not told[1] or told[1] == files
if not as_checked then let_go_of_digest(computation) end

local function drop(ref, part)
  redis.call('HDEL', key, part)
  redis.call('UNLINK', ref)
end

-- Who comes now must not be told of what is no longer there.
local function drop_events()
  local events = KEY.events .. computation
  for _, entry in ipairs(redis.call('XRANGE', events, '-', '+')) do
    if entry[2][2] == 'head' or entry[2][2] == 'layer' then redis.call('XDEL', events, entry[1]) end
  end
end

local layers, dropped = {}, false
each_part(computation, function(ref, part)
  if told[2] ~= files then
    drop(ref, part)
    dropped = true
  elseif part ~= 'head' then
    layers[#layers + 1] = part
  end
end)
if dropped then drop_events() end
redis.call('HSET', key, 'computed_with', files)
return {as_checked and 1 or 0, layers}
