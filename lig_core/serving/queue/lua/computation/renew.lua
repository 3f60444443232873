-- Hold the lease for longer, if it is held.
if not holds(ARGUMENTS.place) then return 0 end
redis.call('ZADD', ARGUMENTS.place.key, NOW + ARGUMENTS.lease, ARGUMENTS.place.member)
return 1
