-- Cancel or forget one job; its computation goes on while another job needs it. Says what the job was.
local job = ARGUMENTS.job
local key = KEY.job .. job
local told = redis.call('HMGET', key, 'computation', 'owner', 'cancelled_at', 'group')
if not told[1] then return 'missing' end
local computation, owner = told[1], told[2]
local shared = KEY.computation .. computation
local state = redis.call('HMGET', shared, 'status', 'failure_ttl', 'expired_ttl')
local status = state[1]
local live = (status == 'queued' or status == 'started') and not told[3]

if not ARGUMENTS.forget then
  if told[3] then return 'cancelled' end
  if not live then return status or 'missing' end
  local last = redis.call('XREVRANGE', KEY.events .. computation, '+', '-', 'COUNT', 1)
  redis.call('HSET', key, 'cancelled_at', text(NOW), 'cancelled_after', last[1] and last[1][1] or '0-0')
end
if live then job_ended(job, owner, 'cancelled', number(state[2]), number(state[3])) end
if ARGUMENTS.forget then
  redis.call('DEL', key)
  redis.call('ZREM', KEY.jobs .. owner, job)
  redis.call('ZREM', KEY.webhooks, job)
  if told[4] then redis.call('ZREM', KEY.group .. owner .. ':' .. told[4], job) end
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
  redis.call('HSET', shared, 'cancel_requested', 1)
  if ARGUMENTS.forget then redis.call('HSET', shared, 'forget', 1) end
  if redis.call('ZREM', KEY.waiting, computation) == 1 then
    leaves_line(computation)
    end_computation(computation, 'canceled')
  end
end

if redis.call('EXISTS', KEY.claims .. computation) == 0 then nobody_needs_it() end
changed(computation)
return live and 'cancelled now' or status
