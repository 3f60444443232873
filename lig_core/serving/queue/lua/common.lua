-- Shared by all scripts. Before it stand what scripts.py takes from names.py (FIELD, KEYS_OF_A_QUEUE, PROBE, RQ_QUEUES
-- and the like), BOUNDS (of histograms) and ARGUMENTS (the caller's, `queue` among them).

-- A key by its kind, or what it begins with, in the queue that the call is about: `names.key`.
local KEY = setmetatable({}, {__index = function(known, kind)
  known[kind] = string.gsub(KEYS_OF_A_QUEUE[kind], '{queue}', {['{queue}'] = ARGUMENTS.queue})
  return known[kind]
end})

local function server_time()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local NOW = server_time()
-- A part of a result must not be gone while its pointer is there.
local LONGER_THAN_POINTER = 60

local function text(number)
  return string.format('%.17g', number)
end

local function of_type(key, kind)
  local actual = redis.call('TYPE', key).ok
  return actual == kind or actual == 'none'
end

-- Of a key that is no hash: nothing.
local function field(key, name)
  local value = redis.pcall('HGET', key, name)
  return type(value) == 'string' and value or nil
end

-- A number; none where it is not finite.
local function number(value)
  local parsed = tonumber(value or 0) or 0
  return (parsed ~= parsed or math.abs(parsed) == math.huge) and 0 or parsed
end

local function given(value)
  return value ~= nil and value ~= cjson.null
end

-- Counters decide nothing: where one cannot be written, a job goes on.
local function count(name, label, by)
  redis.pcall('HINCRBY', KEY.counters, label and (name .. '|' .. label) or name, by or 1)
end

-- Values that are in their buckets already: pairs of a bucket and how many; and the sum of all.
local function observe_many(name, buckets, sum)
  for _, bucket in ipairs(buckets) do
    redis.pcall('HINCRBY', KEY.counters, name .. '<=' .. bucket[1], bucket[2])
  end
  redis.pcall('HINCRBYFLOAT', KEY.counters, name .. ':sum', text(sum))
end

local function observe(name, value)
  local bucket = 'inf'
  for _, bound in ipairs(BOUNDS[name]) do
    if value <= bound then
      bucket = string.format('%g', bound)
      break
    end
  end
  observe_many(name, {{bucket, 1}}, value)
end

-- Before anything is changed: a script that meets a key of another type leaves its change half made. Called with the
-- kinds of keys that it will write, but for those that it reads first anyway.
local function require_sound(...)
  for _, kind in ipairs({...}) do
    if not of_type(KEY[kind], TYPES_OF_QUEUE[kind]) then error('WRONGTYPE of the queue: ' .. KEY[kind]) end
  end
end

-- Tells those who watch of an event of this kind, or of another change.
local function changed(computation, kind)
  redis.call('PUBLISH', KEY.channel .. computation, kind or '')
end

-- Old progress makes room for new; what else happened is kept, so that only progress can be missed.
local function forget_progress(computation, events, most)
  local job = KEY.computation .. computation
  local over = redis.call('XLEN', events) - most
  if over <= 0 then return end
  local last = field(job, FIELD.progress_forgotten)
  for _, entry in ipairs(redis.call('XRANGE', events, last and ('(' .. last) or '-', '+', 'COUNT', over + 256)) do
    if over <= 0 then break end
    if entry[2][2] == 'progress' then
      redis.call('XDEL', events, entry[1])
      last, over = entry[1], over - 1
    end
  end
  if last then redis.call('HSET', job, FIELD.progress_forgotten, last) end
end

local function write_event(computation, kind, data)
  local events = KEY.events .. computation
  if kind == 'progress' then
    forget_progress(computation, events, number(field(KEY.computation .. computation, FIELD.max_events)) - 1)
  end
  redis.call('XADD', events, '*', FIELD.kind, kind, FIELD.data, data or '{}')
end

local function append(computation, kind, data)
  write_event(computation, kind, data)
  changed(computation, kind)
end

local function claims_of(computation)
  local flat, claims = redis.call('HGETALL', KEY.claims .. computation), {}
  for i = 1, #flat, 2 do claims[#claims + 1] = {job = flat[i], owner = flat[i + 1]} end
  return claims
end

-- The kind of event that tells of a stored part.
local function kind_of(part)
  return part == FIELD.head and 'head' or 'layer'
end

-- Calls use(ref, part, pointer) for every stored part.
local function each_part(computation, use)
  local flat = redis.call('HGETALL', KEY.computation .. computation)
  for i = 1, #flat, 2 do
    if flat[i] == FIELD.head or string.sub(flat[i], 1, #FIELD.layer) == FIELD.layer then
      local sound, pointer = pcall(cjson.decode, flat[i + 1])
      if sound and type(pointer) == 'table' and type(pointer.ref) == 'string' then
        use(pointer.ref, flat[i], flat[i + 1])
      end
    end
  end
end

-- How long an ended computation, and all that belongs to it, is kept from now on.
local function keep_for(computation, registry, ttl)
  redis.call('EXPIRE', KEY.computation .. computation, ttl)
  redis.call('EXPIRE', KEY.claims .. computation, ttl)
  redis.call('EXPIRE', KEY.events .. computation, ttl)
  redis.call('ZADD', registry, NOW + ttl, computation)
  each_part(computation, function(ref) redis.call('EXPIRE', ref, ttl + LONGER_THAN_POINTER) end)
end

local function keep_unfinished(computation)
  redis.call('PERSIST', KEY.computation .. computation)
  redis.call('PERSIST', KEY.claims .. computation)
  redis.call('PERSIST', KEY.events .. computation)
  each_part(computation, function(ref) redis.call('PERSIST', ref) end)
end

local function let_go_of_digest(computation)
  local digest = field(KEY.computation .. computation, FIELD.digest)
  if digest and redis.pcall('GET', KEY.digest .. digest) == computation then
    redis.call('DEL', KEY.digest .. digest)
  end
end

-- The rest of a job that ended: it is known for `ttl` and, as expired, for `expired_ttl` more.
local function job_ended(job, owner, status, ttl, expired_ttl)
  local key = KEY.job .. job
  redis.pcall('SREM', KEY.live .. owner, job)
  redis.call('EXPIRE', key, ttl + expired_ttl)
  local group = field(key, FIELD.group)
  if group then redis.call('EXPIRE', KEY.group .. owner .. ':' .. group, ttl + expired_ttl) end
  if redis.call('EXISTS', KEY.live .. owner) == 0 then
    redis.call('EXPIRE', KEY.jobs .. owner, ttl + expired_ttl)
  end
  if field(key, FIELD.webhook) then redis.call('ZADD', KEY.webhooks, NOW, job) end
  count('jobs_ended', status)
end

local function erase(computation)
  each_part(computation, function(ref) redis.call('UNLINK', ref) end)
  let_go_of_digest(computation)
  for _, registry in ipairs({'finished', 'failed', 'canceled', 'dead'}) do
    redis.call('ZREM', KEY[registry], computation)
  end
  redis.call('DEL', KEY.computation .. computation, KEY.claims .. computation, KEY.events .. computation)
end

local function add_to_backlog(cost)
  local left = number(redis.call('GET', KEY.backlog)) + cost
  redis.call('SET', KEY.backlog, text(math.max(0, left)))
end

local ENDS = {
  finished = {status = 'succeeded', ttl = FIELD.result_ttl},
  failed = {status = 'failed', ttl = FIELD.failure_ttl},
  canceled = {status = 'cancelled', ttl = FIELD.failure_ttl},
}

-- The end of a computation that was taken out of where it was; `status` is RQ's word for it.
local function end_computation(computation, status, data)
  local key = KEY.computation .. computation
  local stored = redis.call('HMGET', key, ENDS[status].ttl, FIELD.expired_ttl, FIELD.cost, FIELD.forget, FIELD.digest)
  local ttl, expired_ttl = number(stored[1]), number(stored[2])
  redis.call('HSET', key, FIELD.status, status, FIELD.ended, text(NOW))
  add_to_backlog(-number(stored[3]))
  local claims = claims_of(computation)
  for _, claim in ipairs(claims) do
    job_ended(claim.job, claim.owner, ENDS[status].status, ttl, expired_ttl)
  end
  append(computation, ENDS[status].status, data)
  if stored[4] and #claims == 0 then return erase(computation) end
  if status == 'finished' and #claims > 0 then
    redis.call('EXPIRE', KEY.digest .. stored[5], ttl)
  else
    let_go_of_digest(computation)
  end
  keep_for(computation, KEY[status], ttl)
end

-- Fair queueing by start tags (Goyal et al. 1996): a flow's next computation starts, in virtual time, where its last
-- one ends. A flow of little weight that was idle waits one of its own steps, so that others go first.
local function start_tag(flow, weight, cost)
  local time, step = number(field(KEY.flows, FIELD.time)), cost / weight
  local tag = math.max(number(field(KEY.flows, flow)), weight < 1 and time + step or time)
  return tag, tag + step
end

-- For RQ's tools alone, so where these keys are not sound a job goes on.
local RQ_ENTRY = 'waiting'
local function waits(computation, tag)
  if redis.call('ZADD', KEY.waiting, tag, computation) == 0 then return end
  if redis.pcall('RPUSH', KEY.rq_waiting, RQ_ENTRY) == 1 then redis.pcall('SADD', RQ_QUEUES, KEY.rq_waiting) end
end

local function waits_no_more(computation)
  if redis.call('ZREM', KEY.waiting, computation) == 0 then return false end
  redis.pcall('LPOP', KEY.rq_waiting)
  return true
end

local function ring()
  if redis.call('LLEN', KEY.bell) < 64 then redis.call('RPUSH', KEY.bell, '1') end
end

-- Those that wait are kept by priority as well, to be counted at a glance.
local function joins_line(computation)
  local stored = redis.call('HMGET', KEY.computation .. computation, FIELD.flow, FIELD.cost, FIELD.queued)
  local priority = string.match(stored[1], '[^:]*$')
  if redis.call('ZADD', KEY.line .. priority, stored[3], computation) == 1 then
    redis.pcall('HINCRBYFLOAT', KEY.costs, priority, stored[2])
  end
end

local function leaves_line(computation)
  local stored = redis.pcall('HMGET', KEY.computation .. computation, FIELD.flow, FIELD.cost)
  if not stored[1] then return end
  local priority = string.match(stored[1], '[^:]*$')
  local line = KEY.line .. priority
  if redis.call('ZREM', line, computation) == 0 then return end
  if redis.call('EXISTS', line) == 0 then
    redis.call('HDEL', KEY.costs, priority)
  else
    redis.pcall('HINCRBYFLOAT', KEY.costs, priority, text(-number(stored[2])))
  end
end

-- Taken out of the queue, to be started in a moment.
local function pop(computation)
  waits_no_more(computation)
  redis.call('ZADD', KEY.popped, NOW, computation)
  leaves_line(computation)
end

-- Into the queue as a new arrival of its flow, or before all others; its hash is written.
local function line_up(computation, front)
  local key = KEY.computation .. computation
  if front then
    local first = redis.call('ZRANGE', KEY.waiting, 0, 0, 'WITHSCORES')
    local time = number(field(KEY.flows, FIELD.time))
    waits(computation, math.min(time, first[2] and tonumber(first[2]) or time) - 1)
  else
    local stored = redis.call('HMGET', key, FIELD.flow, FIELD.weight, FIELD.cost)
    local tag, finish = start_tag(stored[1], number(stored[2]), number(stored[3]))
    redis.call('HSET', KEY.flows, stored[1], text(finish))
    waits(computation, tag)
  end
  joins_line(computation)
  ring()
end

-- The same of one that was there before.
local function enqueue(computation, front)
  local key = KEY.computation .. computation
  redis.call('HSET', key, FIELD.status, 'queued')
  redis.call('HDEL', key, FIELD.progress, FIELD.passed)
  line_up(computation, front)
  append(computation, 'queued')
end

-- Leave a sorted set, if still there with a score of at most `latest`.
local function leave(place)
  local score = redis.call('ZSCORE', place.key, place.member)
  if not score or (given(place.latest) and tonumber(score) > place.latest) then return false end
  redis.call('ZREM', place.key, place.member)
  redis.pcall('ZREM', KEY.rq_running, place.member)
  return true
end

local function holds(place)
  return redis.call('ZSCORE', place.key, place.member) and true or false
end

local function live_workers()
  local alive = 0
  for _, worker in ipairs(redis.call('SMEMBERS', KEY.workers)) do
    -- One of RQ's own is none of ours.
    if redis.pcall('HEXISTS', worker, FIELD.holds) == 1 then alive = alive + 1 end
  end
  return alive
end

local function whole(key)
  return of_type(key, 'hash') and redis.call('HGETALL', key) or {}
end

-- For each job: its hash, its computation's hash, its place in the queue.
local function look(jobs)
  local rows = {}
  for i, job in ipairs(jobs) do
    local own, computation = whole(KEY.job .. job), field(KEY.job .. job, FIELD.computation)
    local shared, position = {}, false
    if computation then
      shared = whole(KEY.computation .. computation)
      position = redis.call('ZRANK', KEY.waiting, computation)
    end
    rows[i] = {own, shared, position}
  end
  return rows
end
