-- A claimed webhook is done with, or due again in `again` seconds; nothing if the claim was lost or the job ended anew.
local job, key = ARGUMENTS.job, KEY.job .. ARGUMENTS.job
if number(redis.call('ZSCORE', KEY.webhooks, job)) ~= tonumber(ARGUMENTS.lease_end) then return 0 end
count('webhooks', ARGUMENTS.outcome)
if given(ARGUMENTS.again) then
  redis.call('ZADD', KEY.webhooks, NOW + ARGUMENTS.again, job)
else
  redis.call('ZREM', KEY.webhooks, job)
  redis.call('HDEL', key, FIELD.webhook_attempts)
end
return 1
