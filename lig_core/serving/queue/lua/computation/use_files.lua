-- The content of the model that an attempt computes with. Returns the layers that stay; nothing without the lease.
local computation, identity = ARGUMENTS.computation, given(ARGUMENTS.identity) and ARGUMENTS.identity or ''
local key = KEY.computation .. computation
if not holds(ARGUMENTS.place) then return nil end
local before = field(key, FIELD.computed_with)

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
  if before ~= identity then
    drop(ref, part)
    dropped = true
  elseif part ~= FIELD.head then
    layers[#layers + 1] = part
  end
end)
if dropped then drop_events() end
redis.call('HSET', key, FIELD.computed_with, identity)
if given(ARGUMENTS.held_as) then redis.pcall('HSET', KEY.models, ARGUMENTS.held_as, identity) end
return layers
