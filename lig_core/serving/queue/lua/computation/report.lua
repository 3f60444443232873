-- Note how far an attempt has come, if it holds its lease.
if not holds(ARGUMENTS.place) then return 0 end
redis.call('HSET', KEY.computation .. ARGUMENTS.computation, FIELD.progress, ARGUMENTS.progress)
append(ARGUMENTS.computation, 'progress', ARGUMENTS.progress)
return 1
