-- Accept submissions, all or none: idempotency, coalescing, limits, and then jobs and computations.
local owner, submissions = ARGUMENTS.owner, ARGUMENTS.submissions
local limits_key = KEY.limits .. owner
-- A caller who comes back this long after its time has lost its turn, and none is told to come back later than that.
local GRACE, HORIZON = 60, 3600
-- Clients are told whole seconds.
local EARLY = 1
local SHORTEST, CLOSEST, MOST_LISTED = 1, 0.02, 10000

local function accepted(outcome, group, jobs)
  return {outcome, group or '', jobs, look(jobs)}
end

local function replay(key)
  local before = redis.pcall('HMGET', key, FIELD.body, FIELD.jobs, FIELD.group)
  if not before[1] then return nil end
  if before[1] ~= ARGUMENTS.idempotency.body then return {'mismatch'} end
  local sound, jobs = pcall(cjson.decode, before[2])
  if not sound then return nil end
  for _, job in ipairs(jobs) do
    local computation = field(KEY.job .. job, FIELD.computation)
    if not computation or redis.call('EXISTS', KEY.computation .. computation) == 0 then return nil end
  end
  return accepted('replayed', before[3], jobs)
end

-- The computation of the same work, unless its model is known to have other content.
local function attachable(s)
  local computation = redis.pcall('GET', KEY.digest .. s.digest)
  if type(computation) ~= 'string' then return nil end
  local key = KEY.computation .. computation
  local state = redis.pcall(
    'HMGET', key, FIELD.status, FIELD.cancel_requested, FIELD.head, FIELD.identity, FIELD.computed_with
  )
  local ends = state[1] == 'finished' and state[3]
  local runs = (state[1] == 'queued' or state[1] == 'started') and not state[2]
  local identity = state[5] and state[5] ~= '' and state[5] or state[4]
  local other = given(s.identity) and identity and identity ~= s.identity
  return (ends or runs) and not other and computation or nil
end

local function plan()
  local planned, cost, new = {}, 0, 0
  for _, s in ipairs(submissions) do
    local work = s.digest .. (given(s.identity) and s.identity or '')
    s.attach = not s.fresh and (planned[work] or attachable(s)) or nil
    if not s.attach then
      planned[work] = s.computation
      cost, new = cost + s.cost, new + 1
    end
  end
  return cost, new
end

-- One gate. There is room when `over` is not above 0; while some who were refused have yet to come back, new callers
-- are let past them only where there is `plenty`. Refused callers get times `step` apart, from when there will be room
-- (`over` seconds from now), so that they do not all return at once. Who returns at its time goes first, and may meet
-- a little more than was predicted (`slack` seconds); if it is much more, those who had their turn line up anew, before
-- all who have not. Returns nil, or the seconds until the caller's time.
local function refused(gate, clock, over, plenty, step, slack)
  local who = gate .. ':' .. owner .. ':' .. submissions[1].digest
  local turn = number(redis.call('ZSCORE', KEY.promises, who))
  if turn > NOW + EARLY then
    if over > 0 or not plenty then return turn - NOW end
  end
  local has_turn = turn >= NOW - GRACE and turn <= NOW + EARLY
  local line = (has_turn and 'again|' or 'promised|') .. gate
  local promised = number(field(clock, line))
  if (over <= 0 and (plenty or has_turn or promised <= NOW)) or (has_turn and over <= slack) then
    redis.call('ZREM', KEY.promises, who)
    return nil
  end
  local at = math.max(NOW + math.max(SHORTEST, over), promised)
  if at - NOW > HORIZON then
    at = NOW + HORIZON
  else
    redis.call('HSET', clock, line, text(at + math.max(CLOSEST, step)))
    redis.call('ZADD', KEY.promises, at, who)
  end
  redis.call('EXPIRE', clock, HORIZON + GRACE)
  redis.call('ZREMRANGEBYSCORE', KEY.promises, '-inf', NOW - GRACE)
  redis.call('EXPIRE', KEY.promises, HORIZON + GRACE)
  return at - NOW
end

local function too_many(new, workers, backlog)
  if not given(ARGUMENTS.concurrency) then return nil end
  if new > ARGUMENTS.concurrency then return -1 end
  local live = redis.call('SCARD', KEY.live .. owner)
  -- Jobs end evenly over the time that the backlog takes.
  local step = math.max(0.1, backlog / workers / math.max(1, live))
  local excess = live + new - ARGUMENTS.concurrency
  return refused('concurrency', limits_key, excess * step, true, step * new, 0)
end

local function too_fast(cost)
  if not given(ARGUMENTS.rate) then return nil end
  local ahead = math.max(0, number(field(limits_key, FIELD.at)) - NOW)
  local over = ahead - ARGUMENTS.burst
  return refused('rate', limits_key, over, ahead <= ARGUMENTS.burst / 2, cost / ARGUMENTS.rate, EARLY)
end

local function too_full(cost, workers, backlog)
  local limit = ARGUMENTS.max_backlog * workers
  local over = backlog > 0 and (backlog + cost - limit) / workers or 0
  local plenty = backlog + cost <= limit / 2
  return refused('queue', KEY.queue_limits, over, plenty, cost / workers, ARGUMENTS.max_backlog / 4)
end

-- A field more to be written at once with the others, where there is a value.
local function put(fields, name, value)
  if not given(value) then return end
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end

-- Nobody can be watching it yet, so its first event is not told.
local function create(s)
  local fields = s.fields
  put(fields, FIELD.start_by, given(ARGUMENTS.queue_timeout) and text(NOW + ARGUMENTS.queue_timeout) or nil)
  put(fields, FIELD.end_by, given(ARGUMENTS.total_timeout) and text(NOW + ARGUMENTS.total_timeout) or nil)
  local key = KEY.computation .. s.computation
  redis.call('HSET', key, FIELD.status, 'queued', FIELD.queued, text(NOW), FIELD.first_job, s.job, unpack(fields))
  redis.call('SET', KEY.digest .. s.digest, s.computation)
  add_to_backlog(s.cost)
  line_up(s.computation, false)
  write_event(s.computation, 'queued')
end

-- Who joins a waiting computation brings its own place in the queue, where that is nearer.
local function promote(s)
  local tag = redis.call('ZSCORE', KEY.waiting, s.attach)
  if not tag then return end
  local flow = owner .. ':' .. s.priority
  local own, finish = start_tag(flow, s.weight, s.cost)
  if own < tonumber(tag) then
    redis.call('ZADD', KEY.waiting, own, s.attach)
    redis.call('HSET', KEY.flows, flow, text(finish))
  end
end

-- A result that is asked for again is kept as if it were new.
local function renew(s)
  local stored = redis.call('HMGET', KEY.computation .. s.attach, FIELD.result_ttl, FIELD.expired_ttl)
  local ttl, expired_ttl = number(stored[1]), number(stored[2])
  keep_for(s.attach, KEY.finished, ttl)
  redis.call('EXPIRE', KEY.digest .. s.digest, ttl)
  for _, claim in ipairs(claims_of(s.attach)) do
    redis.call('EXPIRE', KEY.job .. claim.job, ttl + expired_ttl)
  end
  job_ended(s.job, owner, 'succeeded', ttl, expired_ttl)
end

local function add_job(s, place)
  local key, computation = KEY.job .. s.job, s.attach or s.computation
  local fields = {}
  put(fields, FIELD.webhook, s.webhook)
  put(fields, FIELD.traceparent, s.traceparent)
  put(fields, FIELD.group, ARGUMENTS.group)
  put(fields, FIELD.coalesced, s.attach and 1)
  redis.call(
    'HSET', key, FIELD.computation, computation, FIELD.owner, owner, FIELD.created_at, text(NOW), unpack(fields)
  )
  -- Who joins knows what the model has to be, though the first one did not.
  if s.attach and given(s.identity) then
    redis.call('HSETNX', KEY.computation .. s.attach, FIELD.identity, s.identity)
  end
  local score = text(NOW + place * 1e-6)
  if given(ARGUMENTS.group) then
    redis.call('ZADD', KEY.group .. owner .. ':' .. ARGUMENTS.group, score, s.job)
  end
  redis.call('ZADD', KEY.jobs .. owner, score, s.job)
  redis.call('HSET', KEY.claims .. computation, s.job, owner)
  count('jobs_accepted')
  local ended = field(KEY.computation .. computation, FIELD.status) == 'finished'
  if s.attach then count('coalesced', ended and 'finished' or 'running') end
  if ended then return renew(s) end
  redis.call('SADD', KEY.live .. owner, s.job)
  redis.call('PERSIST', KEY.jobs .. owner)
  if s.attach then promote(s) end
end

-- The list is bounded, and jobs that are gone leave it.
local function trim_list()
  local list = KEY.jobs .. owner
  redis.call('ZREMRANGEBYRANK', list, 0, -MOST_LISTED - 1)
  for _, job in ipairs(redis.call('ZRANGE', list, 0, 2 * #submissions)) do
    if redis.call('EXISTS', KEY.job .. job) == 0 then redis.call('ZREM', list, job) end
  end
end

local function admit()
  require_sound('waiting', 'flows', 'bell', 'backlog')
  -- Changes nothing; but a Redis that is full refuses it, which it would not do after the first write of this script.
  redis.call('SETRANGE', PROBE, 0, '')
  -- The same call once more, because its answer was lost.
  if redis.call('EXISTS', KEY.job .. submissions[1].job) == 1 then
    local jobs = {}
    for i, s in ipairs(submissions) do jobs[i] = s.job end
    return accepted('accepted', given(ARGUMENTS.group) and ARGUMENTS.group, jobs)
  end
  local idempotency = given(ARGUMENTS.idempotency)
    and (KEY.idempotency .. owner .. ':' .. ARGUMENTS.idempotency.key)
  if idempotency then
    local before = replay(idempotency)
    if before then return before end
  end

  local cost, new = plan()
  if new > 0 then
    local workers = math.max(1, live_workers())
    local backlog = number(redis.call('GET', KEY.backlog))
    local wait, why = too_many(new, workers, backlog), 'concurrency'
    if not wait then wait, why = too_fast(cost), 'rate' end
    if not wait then wait, why = too_full(cost, workers, backlog), 'queue' end
    if wait then
      count('jobs_refused', why == 'queue' and 'queue_full' or 'quota_exceeded')
      return {'refused', why, text(wait)}
    end
    if given(ARGUMENTS.rate) then
      local at = math.max(NOW, number(field(limits_key, FIELD.at))) + cost / ARGUMENTS.rate
      redis.call('HSET', limits_key, FIELD.at, text(at))
      redis.call('EXPIRE', limits_key, math.ceil(at - NOW) + HORIZON + GRACE)
    end
  end

  local jobs = {}
  for place, s in ipairs(submissions) do
    if not s.attach then create(s) end
    add_job(s, place)
    jobs[place] = s.job
  end
  trim_list()
  local group = given(ARGUMENTS.group) and ARGUMENTS.group or nil
  if idempotency then
    local body, ttl = ARGUMENTS.idempotency.body, ARGUMENTS.idempotency.ttl
    redis.call('HSET', idempotency, FIELD.body, body, FIELD.jobs, cjson.encode(jobs), FIELD.group, group or '')
    redis.call('EXPIRE', idempotency, ttl)
  end
  return accepted('accepted', group, jobs)
end

return admit()
