-- What every script begins with. KEYS[1] is the bucket.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- text formats an integer, which Lua would write with an exponent.
local function text(n) return string.format('%.0f', n) end

-- read returns the n bytes of v from position at on as a number, big-endian; write is the reverse.
local function read(v, at, n)
  local x = 0
  for i = at, at + n - 1 do x = x * 256 + string.byte(v, i) end
  return x
end
local function write(x, n)
  local b = {}
  for i = n, 1, -1 do
    b[i] = string.char(x % 256)
    x = math.floor(x / 256)
  end
  return table.concat(b)
end

-- writing writes nothing, but Redis takes it for a write. So it is refused where writes are, which is
-- on a replica, and what follows passes where Redis is full, for a script is not stopped half way.
local function writing() redis.call('HDEL', KEYS[1], '-') end

-- keep lets a key live until then at least. Expiries only grow.
local function keep(key, micros)
  local left = redis.call('PTTL', key)
  if left ~= -1 and left * 1000 < micros - now then
    redis.call('PEXPIREAT', key, text(math.ceil(micros / 1000)))
  end
end
-- begin is keep for a key that may just have been made, and has no expiry yet.
local function expire(key, micros)
  if redis.call('PTTL', key) == -1 then
    redis.call('PEXPIREAT', key, text(math.ceil(micros / 1000)))
  else
    keep(key, micros)
  end
end

-- The state of a bucket: since when it remembers, its first epoch, its epoch, when all were revoked
-- last, and for each epoch that began for another reason than the one before, the epoch and why.
local year = 365 * 86400 * 1000000
local function state()
  local e = redis.call('HGET', KEYS[1], 'e')
  if not e then
    local epoch = text(math.floor(now / 1000000))
    e = text(now) .. ' ' .. epoch .. ' ' .. epoch .. ' 0'
    redis.call('HSET', KEYS[1], 'e', e, 'w', text(now))
    expire(KEYS[1], now + 2 * year)
  end
  return e
end
local function epochOf(e) return tonumber(string.match(e, '^%d+ %d+ (%d+)')) end

-- recall looks whether what a session that is not there was may have been forgotten: by another
-- server, or by this one after a restart, which may have lost its last writes, or by a clock that was
-- set back since. Codes of before are refused from then on. It returns the state, or an error.
local function recall(e, durable)
  local known = redis.call('HMGET', KEYS[1], 'r', 'w')
  local birth, last = 0, tonumber(known[2] or '0')
  if not durable then
    local info = redis.pcall('INFO', 'server')
    local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
    if not run then return nil, redis.error_reply('NORUN ' .. (type(info) == 'table' and info.err or 'INFO has no run_id')) end
    if known[1] ~= run then
      redis.call('HSET', KEYS[1], 'r', run)
      if known[1] then birth = now + 2000000 end
    end
  end
  if now + 60000000 < last then birth = math.max(birth, now) end
  if now + 60000000 < last or now > last + 10000000 then redis.call('HSET', KEYS[1], 'w', text(now)) end
  if birth > tonumber(string.match(e, '^%d+')) then
    e = string.gsub(e, '^%d+', text(birth))
    redis.call('HSET', KEYS[1], 'e', e)
  end
  if redis.call('PTTL', KEYS[1]) < year / 1000 then expire(KEYS[1], now + 2 * year) end
  return e
end

-- tell counts and publishes a change.
local function tell(channel, bucket, mark, change)
  local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
  redis.call('PUBLISH', channel, bucket .. ' ' .. text(n) .. ' ' .. text(now) .. ' ' .. text(mark) .. '\n' .. change)
end
