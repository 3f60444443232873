-- Rename what lies under a name of this service and is of another type than that; says the names, and what they were.
local renamed = {}
for _, each in ipairs(ARGUMENTS.keys) do
  if not of_type(each.key, each.type) then
    renamed[#renamed + 1] = {each.key, redis.call('TYPE', each.key).ok}
    redis.call('RENAME', each.key, each.aside)
  end
end
return renamed
