-- The webhooks that are due, at most `limit`, each held for `lease` seconds: job, end of the lease, which attempt it is.
local claimed = {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEY.webhooks, '-inf', NOW, 'LIMIT', 0, ARGUMENTS.limit)) do
  local key, until_ = KEY.job .. job, text(NOW + ARGUMENTS.lease)
  local attempt = redis.call('EXISTS', key) == 1 and redis.pcall('HINCRBY', key, FIELD.webhook_attempts, 1)
  if type(attempt) == 'number' then
    redis.call('ZADD', KEY.webhooks, until_, job)
    claimed[#claimed + 1] = {job, until_, attempt}
  else
    redis.call('ZREM', KEY.webhooks, job)
  end
end
return claimed
