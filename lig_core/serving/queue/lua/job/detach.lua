-- Cancel or forget one job; its computation goes on while another job needs it. Says what the job was.
local job = ARGUMENTS.job
local key = KEY.job .. job
local stored = redis.call('HMGET', key, FIELD.computation, FIELD.owner, FIELD.cancelled_at, FIELD.group)
if not stored[1] then return 'missing' end
local computation, owner = stored[1], stored[2]
local shared = KEY.computation .. computation
local state = redis.call('HMGET', shared, FIELD.status, FIELD.failure_ttl, FIELD.expired_ttl)
local status = state[1]
local live = (status == 'queued' or status == 'started') and not stored[3]

if not ARGUMENTS.forget then
  if stored[3] then return 'cancelled' end
  if not live then return status or 'missing' end
  local last = redis.call('XREVRANGE', KEY.events .. computation, '+', '-', 'COUNT', 1)
  redis.call('HSET', key, FIELD.cancelled_at, text(NOW), FIELD.cancelled_after, last[1] and last[1][1] or '0-0')
end
if live then job_ended(job, owner, 'cancelled', number(state[2]), number(state[3])) end
if ARGUMENTS.forget then
  redis.call('DEL', key)
  redis.call('ZREM', KEY.jobs .. owner, job)
  redis.call('ZREM', KEY.webhooks, job)
  if stored[4] then redis.call('ZREM', KEY.group .. owner .. ':' .. stored[4], job) end
end
redis.call('HDEL', KEY.claims .. computation, job)
if not status then return 'missing' end

local function nobody_needs_it()
  let_go_of_digest(computation)
  if status ~= 'queued' and status ~= 'started' then
    if ARGUMENTS.forget then erase(computation) end
    return
  end
  -- The worker that has it, or takes it a moment from now, sees this.
  redis.call('HSET', shared, FIELD.cancel_requested, 1)
  if ARGUMENTS.forget then redis.call('HSET', shared, FIELD.forget, 1) end
  if waits_no_more(computation) then
    leaves_line(computation)
    end_computation(computation, 'canceled')
  end
end

if redis.call('EXISTS', KEY.claims .. computation) == 0 then nobody_needs_it() end
changed(computation)
return live and 'cancelled now' or status
